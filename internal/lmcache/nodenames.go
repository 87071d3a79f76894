// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// namesTTL is the time for which an upstream's node is remembered.
	namesTTL = 15 * time.Second
	// maxNames bounds the upstreams whose node is remembered.
	maxNames = 4096
)

// nodeNames finds the LMCache node of an upstream: the only one on the same host.
type nodeNames struct {
	resolve func(ctx context.Context, host string) ([]string, error)
	now     func() time.Time

	mu    sync.Mutex
	known map[string]knownName // by upstream
}

type knownName struct {
	node instance // no id: the upstream has none
	at   time.Time
}

func newNodeNames(o CoordinatorOptions) *nodeNames {
	return &nodeNames{resolve: o.Resolve, now: o.Now, known: make(map[string]knownName)}
}

// node returns the node of an upstream. It asks for the list of all nodes when it
// does not know the upstream's.
func (n *nodeNames) node(ctx context.Context, upstream string, list func(context.Context) ([]instance, error)) (instance, error) {
	n.mu.Lock()
	known, ok := n.known[upstream]
	n.mu.Unlock()
	if !ok || n.now().Sub(known.at) >= namesTTL {
		host, _, err := net.SplitHostPort(upstream)
		if err != nil {
			return instance{}, ErrUnmapped
		}
		all, err := list(ctx)
		if err != nil {
			return instance{}, err
		}
		known = knownName{n.match(ctx, host, all), n.now()}
		known.node.host = host // the upstream's own, whatever the coordinator calls it
		n.remember(upstream, known)
	}
	if known.node.id == "" {
		return instance{}, ErrUnmapped
	}
	return known.node, nil
}

func (n *nodeNames) remember(upstream string, known knownName) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.known) >= maxNames {
		clear(n.known) // upstreams that came and went
	}
	n.known[upstream] = known
}

// forget drops all names.
func (n *nodeNames) forget() {
	n.mu.Lock()
	clear(n.known)
	n.mu.Unlock()
}

// match returns the one node on a host, and none where there are several: the wrong
// one would read its disk for nothing.
func (n *nodeNames) match(ctx context.Context, host string, all []instance) (node instance) {
	for _, i := range all {
		if i.host == host {
			if node.id != "" {
				return instance{}
			}
			node = i
		}
	}
	if node.id != "" {
		return node
	}
	addresses := n.addresses(ctx, host)
	for _, i := range all {
		address, err := netip.ParseAddr(i.host)
		if err != nil || !addresses[address.Unmap()] {
			continue
		}
		if node.id != "" {
			return instance{}
		}
		node = i
	}
	return node
}

// addresses returns the addresses of a host.
func (n *nodeNames) addresses(ctx context.Context, host string) map[netip.Addr]bool {
	list := []string{host}
	if _, err := netip.ParseAddr(host); err != nil {
		if list, err = n.resolve(ctx, host); err != nil {
			return nil
		}
	}
	set := make(map[netip.Addr]bool, len(list))
	for _, text := range list {
		if a, err := netip.ParseAddr(text); err == nil {
			set[a.Unmap()] = true
		}
	}
	return set
}

// holdings returns the holdings of upstreams, by those of their nodes.
func (n *nodeNames) holdings(ctx context.Context, upstreams []string, list func(context.Context) ([]instance, error), held func(node string) Holding) ([]Holding, error) {
	var found []Holding
	var all []instance
	asked := func(ctx context.Context) (_ []instance, err error) { // once for all of them
		if all == nil {
			all, err = list(ctx)
		}
		return all, err
	}
	for _, upstream := range upstreams {
		node, err := n.node(ctx, upstream, asked)
		if err == ErrUnmapped {
			continue
		}
		if err != nil {
			return nil, err
		}
		h := held(node.id)
		h.Upstream = upstream
		found = append(found, h)
	}
	return found, nil
}
