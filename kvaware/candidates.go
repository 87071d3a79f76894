// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/bauxite/caddy-kvaware/internal/outlier"
	"github.com/bauxite/caddy-kvaware/internal/routing"
)

// candidates holds the upstreams that one routing decision chooses between. The
// memory is pooled, so that a decision does not allocate by their number.
type candidates struct {
	upstreams reverseproxy.UpstreamPool
	scored    []routing.Candidate // the same, in the same order
	untried   int                 // upstreams that could take the request, these and those left out

	addresses []string // of upstreams, for the outlier detector
	assessed  []outlier.Assessment
}

var candidatesPool = sync.Pool{New: func() any { return new(candidates) }}

// candidates returns the available upstreams, without those at which the request
// was tried unless no other is left, and without those that are left out because
// they fail. The caller releases it.
func (p *Policy) candidates(pool reverseproxy.UpstreamPool, tried []string, r *http.Request) *candidates {
	c := candidatesPool.Get().(*candidates)
	c.untried = 0
	for _, u := range pool {
		if p.available(u) {
			c.upstreams = append(c.upstreams, u)
			c.scored = append(c.scored, candidate(u, r))
			if !slices.Contains(tried, c.scored[len(c.scored)-1].Address) {
				c.untried++
			}
		}
	}
	if c.untried > 0 && len(tried) > 0 {
		c.keep(func(i int) bool { return !slices.Contains(tried, c.scored[i].Address) })
	}
	if !p.shared.outliers.Quiet() {
		c.admit(p.shared.outliers, p.ejection)
	}
	return c
}

// isAvailable reports whether an upstream takes requests. Caddy knows, while the
// config runs. When it stops, Caddy cancels the health checks under way, and takes
// each for that of an unhealthy upstream. Requests that are still served by this
// config then go by what was known before.
func (p *Policy) isAvailable(u *reverseproxy.Upstream) bool {
	return u.Available() || p.wasHealthy(u) && !u.Full()
}

// admit removes the upstreams that take no request now, and sets the penalties of
// the others.
func (c *candidates) admit(d *outlier.Detector, o outlier.Options) {
	for _, s := range c.scored {
		c.addresses = append(c.addresses, s.Address)
	}
	c.assessed = slices.Grow(c.assessed, len(c.scored))[:len(c.scored)]
	d.Assess(c.addresses, c.assessed)
	outlier.Admit(c.assessed, o)
	for i, a := range c.assessed {
		c.scored[i].Penalty, c.scored[i].Overdue = a.Penalty, a.Overdue
	}
	c.keep(func(i int) bool { return c.assessed[i].Takes })
}

// others returns the number of upstreams that could take the request when one of
// the candidates fails.
func (c *candidates) others() int { return max(0, c.untried-1) }

// keep drops all candidates but those of which keep reports true.
func (c *candidates) keep(keep func(i int) bool) {
	kept := 0
	for i, s := range c.scored {
		if keep(i) {
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
	clear(c.addresses)
	c.upstreams, c.scored = c.upstreams[:0], c.scored[:0]
	c.addresses, c.assessed = c.addresses[:0], c.assessed[:0]
	candidatesPool.Put(c)
}

func candidate(u *reverseproxy.Upstream, r *http.Request) routing.Candidate {
	return routing.Candidate{Address: address(u, r), Requests: u.NumRequests()}
}

// addressesOf returns the keys of upstreams.
func addressesOf(pool reverseproxy.UpstreamPool, r *http.Request) []string {
	addresses := make([]string, len(pool))
	for i, u := range pool {
		addresses[i] = address(u, r)
	}
	return addresses
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
