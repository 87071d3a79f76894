// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/bauxite/caddy-kvaware/internal/routing"
	"github.com/bauxite/caddy-kvaware/internal/transport"
	"github.com/bauxite/caddy-kvaware/janitor"
)

// Select returns the upstream that is predicted to give the first token
// soonest, or nil when none is available. Caddy calls it again for each further
// attempt, which is the only sign that the attempt before has failed.
func (p *Policy) Select(pool reverseproxy.UpstreamPool, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	p.refreshUpstreams(pool, r)
	tries := p.tries(r)
	tries.Again()
	pool = p.forModelsPath(pool, tries.Tried(), r)
	x, scrubbed := janitor.From(r)
	if !scrubbed {
		return p.selectUnscrubbed(pool, tries, r, w)
	}
	state := p.requestState(x, pool, r)
	if !x.Attach(r) {
		return nil // the answer has begun: there is nothing left to send
	}
	serving := p.filterByModel(pool, x.API().String(), x.Model(), r)
	state.pool = pool
	if !state.signed() {
		if u := p.selectHolder(serving, state, r); u != nil {
			return u
		}
		setPlaceholders(r, routing.Decision{Reason: routing.Fallback}, 0)
		return p.selectUnsigned(serving, tries, r, w)
	}
	state.attemptFailed()
	candidates := p.candidates(serving, tries.Tried(), r)
	defer candidates.release()
	p.identify(&state.signedRequest, x, candidates.scored)
	p.recordRouted(x.Janitor(), candidates, r)
	u, decision := p.route(candidates, state, r, w)
	if u == nil {
		return nil // Caddy's own rules for "no upstream available" apply
	}
	if u == noUpstream {
		return u // the request was refused
	}
	p.commit(address(u, r), decision, state, pool, r)
	p.attempt(tries, state.address, overdueAfter(state), candidates.others())
	return u
}

// selectUnsigned has the fallback policy pick an upstream for a request without a
// signature. Upstreams that fail are left out for it too.
func (p *Policy) selectUnsigned(pool reverseproxy.UpstreamPool, tries *transport.Tries, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	candidates := p.candidates(pool, tries.Tried(), r)
	defer candidates.release()
	u := p.selectFallback(candidates.upstreams, r, w)
	if u != nil {
		p.attempt(tries, address(u, r), 0, candidates.others())
	}
	return u
}

// route picks one of the candidates and reserves its prefill there. It returns
// nil when there is none, and noUpstream when it has refused the request.
func (p *Policy) route(c *candidates, state *requestState, r *http.Request, w http.ResponseWriter) (*reverseproxy.Upstream, routing.Decision) {
	p.fetchTokensFirst(r, state, c.scored)
	state.staging.Consult(c.scored)
	d := state.request.Route(c.scored, p.coldFallback)
	if d.Reason == routing.Overload {
		p.refuseOverload(state.exchange, d, r, w)
		return noUpstream, d
	}
	if d.Pick >= 0 {
		return c.upstreams[d.Pick], d
	}
	if len(c.upstreams) == 0 {
		return nil, d
	}
	u := p.selectFallback(c.upstreams, r, w)
	if u == nil {
		return nil, d
	}
	if i := slices.Index(c.upstreams, u); i >= 0 {
		return u, state.request.Assign(c.scored[i]) // with what is known of it
	}
	picked := []routing.Candidate{candidate(u, r)}
	p.identify(&state.signedRequest, state.exchange, picked)
	return u, state.request.Assign(picked[0])
}

// commit carries out a decision: metrics, placeholders, staging, and fetching
// the prompt's tokens. pool holds all upstreams of the proxy.
func (p *Policy) commit(address string, d routing.Decision, state *requestState, pool reverseproxy.UpstreamPool, r *http.Request) {
	state.beginAttempt(address, d)
	p.shared.metrics.picked(address, d.Reason)
	p.stage(r, state, pool)
	p.fetchTokens(state)
	setPlaceholders(r, d, state.request.Tokens())
}

// setPlaceholders leaves the decision in the request's placeholders.
func setPlaceholders(r *http.Request, d routing.Decision, promptTokens int) {
	repl := replacer(r)
	repl.Set("http.kv_aware.match_tokens", d.Cached)
	repl.Set("http.kv_aware.prompt_tokens", promptTokens)
	repl.Set("http.kv_aware.reason", string(d.Reason))
}

func replacer(r *http.Request) *caddy.Replacer {
	return r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
}

// refreshInterval is the time between two refreshes of a policy's upstreams:
// short enough for dynamic ones, and at no cost to each request.
const refreshInterval = time.Second

// throttle holds the time at which something was last done, in Unix nanoseconds.
type throttle struct{ last atomic.Int64 }

// due reports true to one caller in each interval.
func (t *throttle) due(interval time.Duration, now time.Time) bool {
	last := t.last.Load()
	return now.UnixNano()-last >= int64(interval) && t.last.CompareAndSwap(last, now.UnixNano())
}

// refreshUpstreams tells the shared state which upstreams the policy may send
// requests to. It does not block.
func (p *Policy) refreshUpstreams(pool reverseproxy.UpstreamPool, r *http.Request) {
	if !p.observed.refresh.due(refreshInterval, p.shared.now()) {
		return
	}
	addresses := addressesOf(pool, r)
	p.shared.upstreams.Refresh(p.upstreamsSubscriber, addresses)
	p.shared.events.Follow(p.eventsSubscriber, addresses)
}
