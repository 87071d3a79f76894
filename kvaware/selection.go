// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"net/http"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/bauxite/caddy-kvaware/internal/routing"
)

// selection is between which upstreams one decision is. Its memory is used
// again, so that a decision does not allocate by how many there are.
type selection struct {
	upstreams reverseproxy.UpstreamPool
	targets   []routing.Candidate // the same, in the same order
}

var selections = sync.Pool{New: func() any { return new(selection) }}

// selection returns the upstreams that can take the request now: those that
// Caddy holds for available, and of these the ones that have not failed it.
// It is to be released.
func (p *Policy) selection(pool reverseproxy.UpstreamPool, fl *flight, r *http.Request) *selection {
	s := selections.Get().(*selection)
	untried := false
	for _, u := range pool {
		if p.available(u) {
			s.upstreams = append(s.upstreams, u)
			s.targets = append(s.targets, targetOf(u, r))
			untried = untried || !fl.hasTried(s.targets[len(s.targets)-1].Address)
		}
	}
	if untried && len(fl.tried) > 0 {
		s.drop(fl.hasTried)
	}
	return s
}

// drop leaves out the upstreams at some addresses.
func (s *selection) drop(out func(address string) bool) {
	kept := 0
	for i, t := range s.targets {
		if !out(t.Address) {
			s.upstreams[kept], s.targets[kept] = s.upstreams[i], t
			kept++
		}
	}
	clear(s.upstreams[kept:])
	clear(s.targets[kept:])
	s.upstreams, s.targets = s.upstreams[:kept], s.targets[:kept]
}

// release gives the memory back; what it refers to is let go.
func (s *selection) release() {
	clear(s.upstreams)
	clear(s.targets)
	s.upstreams, s.targets = s.upstreams[:0], s.targets[:0]
	selections.Put(s)
}

// hasTried reports whether an attempt at an address has failed.
func (fl *flight) hasTried(address string) bool { return slices.Contains(fl.tried, address) }
