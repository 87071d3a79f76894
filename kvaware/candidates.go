// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/bauxite/caddy-kvaware/internal/routing"
)

// filterByModel returns the upstreams that may serve the model: all but those
// known not to list it. It returns all when no available upstream is known to
// list it: some engines serve any name, and the client of the others is to get
// the engine's error.
func (p *Policy) filterByModel(pool reverseproxy.UpstreamPool, model string, r *http.Request) reverseproxy.UpstreamPool {
	models := p.shared.upstreams.Models()
	if model == "" || !models.Differ() {
		return pool
	}
	serving := make(reverseproxy.UpstreamPool, 0, len(pool))
	listed := false
	for _, u := range pool {
		has, known := models.Has(address(u, r), model)
		if has || !known {
			serving = append(serving, u)
		}
		listed = listed || has && p.available(u)
	}
	if !listed {
		return pool
	}
	return serving
}

// candidates holds the upstreams that one routing decision chooses between. The
// memory is pooled, so that a decision does not allocate by their number.
type candidates struct {
	upstreams reverseproxy.UpstreamPool
	scored    []routing.Candidate // the same, in the same order
}

var candidatesPool = sync.Pool{New: func() any { return new(candidates) }}

// candidates returns the available upstreams, without those in failed unless no
// other is left. The caller releases it.
func (p *Policy) candidates(pool reverseproxy.UpstreamPool, failed []string, r *http.Request) *candidates {
	c := candidatesPool.Get().(*candidates)
	untried := false
	for _, u := range pool {
		if p.available(u) {
			c.upstreams = append(c.upstreams, u)
			c.scored = append(c.scored, candidate(u, r))
			untried = untried || !slices.Contains(failed, c.scored[len(c.scored)-1].Address)
		}
	}
	if untried && len(failed) > 0 {
		c.remove(failed)
	}
	return c
}

// remove drops the upstreams at some addresses.
func (c *candidates) remove(addresses []string) {
	kept := 0
	for i, s := range c.scored {
		if !slices.Contains(addresses, s.Address) {
			c.upstreams[kept], c.scored[kept] = c.upstreams[i], s
			kept++
		}
	}
	clear(c.upstreams[kept:])
	clear(c.scored[kept:])
	c.upstreams, c.scored = c.upstreams[:kept], c.scored[:kept]
}

// release gives the memory back and drops its references.
func (c *candidates) release() {
	clear(c.upstreams)
	clear(c.scored)
	c.upstreams, c.scored = c.upstreams[:0], c.scored[:0]
	candidatesPool.Put(c)
}

func candidate(u *reverseproxy.Upstream, r *http.Request) routing.Candidate {
	return routing.Candidate{Address: address(u, r), Requests: u.NumRequests()}
}

// address returns the key of an upstream: its dial address. Placeholders in it
// may stand for another engine with each request.
func address(u *reverseproxy.Upstream, r *http.Request) string {
	dial := u.String()
	if strings.IndexByte(dial, '{') < 0 {
		return dial
	}
	return replacer(r).ReplaceAll(dial, "")
}
