// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/bauxite/caddy-kvaware/internal/transport"
	"github.com/bauxite/caddy-kvaware/janitor"
)

// triesVar is the request variable that holds the attempts of a request.
const triesVar = "kv_aware.tries"

// policyTries holds the attempts of a request at one policy's upstreams. A request
// can pass several proxies.
type policyTries struct {
	policy *Policy
	tries  transport.Tries
}

// tries returns the attempts of a request. The first pick makes them.
func (p *Policy) tries(r *http.Request) *transport.Tries {
	if t := p.triesOf(r); t != nil {
		return t
	}
	t := &policyTries{policy: p}
	t.tries.Retries = p.retries
	t.tries.Repeatable = isRepeatable(r)
	caddyhttp.SetVar(r.Context(), triesVar, t)
	return &t.tries
}

// isRepeatable reports whether a request does no harm when it is sent twice.
func isRepeatable(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete:
		return true
	}
	x, scrubbed := janitor.From(r)
	return scrubbed && !x.API().Dialect().AnyJSON
}

// triesOf returns the attempts of a request, nil when this policy has not picked
// an upstream for it.
func (p *Policy) triesOf(r *http.Request) *transport.Tries {
	if _, routed := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any); !routed {
		return nil // a health check
	}
	if t, ok := caddyhttp.GetVar(r.Context(), triesVar).(*policyTries); ok && t.policy == p {
		return &t.tries
	}
	return nil
}

// attempt prepares the attempt at a picked upstream. due is the time after which its
// answer is overdue, 0 for never; others is the number of other upstreams that could
// take the request.
func (p *Policy) attempt(t *transport.Tries, address string, due time.Duration, others int) {
	t.Attempt = p.shared.outliers.NewAttempt(address, due, p.ejection)
	t.Untried = others
}

const (
	// An answer is overdue when it takes overdueFactor times as long as predicted,
	// and at least overdueFloor: predictions are rough, and first requests compile
	// kernels. Without a stream the whole answer has to be decoded first, for which
	// there is no prediction.
	overdueFactor      = 4
	overdueFloor       = 2 * time.Second
	overdueFloorUnread = time.Minute
)

// overdueAfter returns the time after which the answer to a signed request is
// overdue. The prediction knows of long prefills and of what the engine reports as
// queued.
func overdueAfter(s *requestState) time.Duration {
	d := s.request.Prediction()
	uncached := max(0, s.request.Tokens()-d.OnGPU)
	predicted := d.Wait + time.Duration(uncached)*d.PerToken
	floor := overdueFloor
	if !s.exchange.Stream() {
		floor = overdueFloorUnread
	}
	return max(floor, overdueFactor*predicted)
}
