// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"context"
	"crypto/rand"
	"io"
	"net"
	"net/http"
)

const (
	lookupPath       = "/lookup"
	queryPath        = "/query_instance"
	controllerPrefix = "caddy-kvaware-"
)

// Controller asks LMCache's legacy controller. It can only be asked who holds
// a prefix: its /move copies from one node's CPU memory to another's, its /pin
// loads nothing, and nothing shows that either raises blocks from a disk.
//
// It names one place for each node. It hashes tokens itself, and finds nothing
// unless it has the same PYTHONHASHSEED, chunk size and hash algorithm as the
// engines. It knows no models and no salts: what it says about a prompt with a
// salt is wrong, so it is not asked.
type Controller struct {
	options FleetOptions
	nodes   *nodeNames
}

// NewController returns a Controller.
func NewController(o FleetOptions) *Controller {
	o.setDefaults()
	return &Controller{options: o, nodes: newNodeNames(o)}
}

// Submit is not possible.
func (c *Controller) Submit(context.Context, string, *Prefix) (Job, error) {
	return Job{}, ErrUnsupported
}

// Poll is not possible.
func (c *Controller) Poll(context.Context, string, Job) (Progress, error) {
	return Progress{}, ErrUnsupported
}

// Lookup asks for POST /lookup, and POST /query_instance for the names of
// nodes that it does not know yet.
func (c *Controller) Lookup(ctx context.Context, p *Prefix, upstreams []string) ([]Holding, error) {
	if p.Salt != "" {
		return nil, ErrUnsupported
	}
	tokens := p.cut()
	var runs map[string]run
	err := do(ctx, c.options.Transport, request{
		method: http.MethodPost, base: c.options.Base, path: lookupPath,
		tokens: &tokenBody{head: []byte(`{"tokens":[`), tail: []byte(`]}`), lease: &lease{tokens: tokens}},
	}, func(r io.Reader) (err error) {
		runs, err = readLayout(r, len(tokens))
		return err
	})
	if err != nil {
		return nil, err
	}
	hosts := make(map[string]int, len(upstreams))
	for _, upstream := range upstreams {
		hosts[hostOf(upstream)]++
	}
	var found []Holding
	for _, upstream := range upstreams {
		if _, ok := c.options.Nodes[upstream]; !ok && hosts[hostOf(upstream)] > 1 {
			continue // each engine has an LMCache of its own: an address does not tell which
		}
		node, err := c.nodes.get(ctx, upstream, func(host string) (instance, error) {
			id, err := c.query(ctx, host)
			return instance{id: id}, err
		})
		if err == ErrUnmapped {
			continue
		}
		if err != nil {
			return nil, err
		}
		held := runs[node.id]
		found = append(found, Holding{Upstream: upstream, Memory: held.memory, Storage: held.any})
	}
	return found, nil
}

func hostOf(upstream string) string {
	host, _, _ := net.SplitHostPort(upstream)
	return host
}

// query asks for the node at a host, by its addresses.
func (c *Controller) query(ctx context.Context, host string) (node string, err error) {
	ip := host
	if net.ParseIP(host) == nil {
		list, err := c.nodes.resolve(ctx, host)
		if err != nil || len(list) == 0 {
			return "", nil
		}
		ip = list[0]
	}
	body := append([]byte(`{"event_id":`), quote(controllerPrefix+rand.Text())...)
	body = append(append(append(body, `,"ip":`...), quote(ip)...), '}')
	err = do(ctx, c.options.Transport, request{method: http.MethodPost, base: c.options.Base, path: queryPath, json: body}, func(r io.Reader) (err error) {
		node, err = readNode(r)
		return err
	})
	return node, err
}

// Can tells that a controller can be asked.
func (c *Controller) Can() (stage, look bool) { return false, true }

// Close lets connections go.
func (c *Controller) Close() { closeIdle(c.options.Transport) }

var _ Client = (*Controller)(nil)
