// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// rememberHealth notes which upstreams are healthy, just before the config's health
// checks are cancelled.
func (p *Policy) rememberHealth(pool reverseproxy.UpstreamPool) {
	healthy := make(reverseproxy.UpstreamPool, 0, len(pool))
	for _, u := range pool {
		if u.Healthy() {
			healthy = append(healthy, u)
		}
	}
	p.observed.healthy.Store(&healthy)
}

// wasHealthy reports whether an upstream was healthy when the config stopped. It is
// false while the config runs.
func (p *Policy) wasHealthy(u *reverseproxy.Upstream) bool {
	healthy := p.observed.healthy.Load()
	return healthy != nil && p.ended() && slices.Contains(*healthy, u)
}

// selectFallback has the fallback policy pick one of the candidates. That policy
// sees only what Caddy knows. Where it finds none in a config that has stopped, the
// candidate with the fewest requests is picked.
func (p *Policy) selectFallback(pool reverseproxy.UpstreamPool, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	if u := p.fallback.Select(pool, r, w); u != nil || len(pool) == 0 || !p.wasHealthy(pool[0]) {
		return u
	}
	return slices.MinFunc(pool, func(a, b *reverseproxy.Upstream) int { return a.NumRequests() - b.NumRequests() })
}
