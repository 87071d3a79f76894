// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/bauxite/caddy-kvaware/internal/answer"
	"github.com/bauxite/caddy-kvaware/internal/responses"
	"github.com/bauxite/caddy-kvaware/internal/routing"
	"github.com/bauxite/caddy-kvaware/janitor"
)

// stored is the reason for requests that refer to a stored response, and go to
// the upstream that has it.
const stored routing.Reason = "state"

// holder returns the upstream that has a stored response, or nil: when that is
// not known, or when the upstream is not available or has failed this request.
// Then the request is routed as any other, and the engine says what is missing.
//
// It does not ask for the tenant: whoever names the ID of another tenant's
// response is led to the same engine, which decides by itself.
func (p *Policy) holder(pool reverseproxy.UpstreamPool, id string, failed []string, r *http.Request) *reverseproxy.Upstream {
	if id == "" {
		return nil
	}
	at := p.shared.responses.Holder(responses.KeyOf(p.shared.signing.Load().key, id))
	if at == "" || slices.Contains(failed, at) {
		return nil
	}
	for _, u := range pool {
		if address(u, r) == at && p.available(u) {
			return u
		}
	}
	return nil
}

// selectHolder picks the upstream that has the stored response to which a request
// refers, and returns nil when holder does. The attempt has no other upstream to go
// to: those would answer that the response does not exist, and a client would take
// its conversation for lost where the holder is only busy.
func (p *Policy) selectHolder(pool reverseproxy.UpstreamPool, s *requestState, r *http.Request) *reverseproxy.Upstream {
	u := p.holder(pool, s.exchange.StoredResponse(), s.tries.Tried(), r)
	if u == nil {
		return nil
	}
	at := address(u, r)
	setPlaceholders(r, routing.Decision{Reason: stored}, 0)
	p.shared.metrics.picked(at, stored)
	s.atHolder = true
	p.attempt(s.tries, at, 0, 0)
	return u
}

// searchInterval is the time between two requests whose stored response is looked
// for. Clients can make up IDs, and retries are limited.
const searchInterval = 100 * time.Millisecond

// lacksResponse reports whether a request that was answered 404, since it refers to
// a stored response, should be sent to another upstream: this gateway does not know
// the holder when another gateway has routed the response, or when it has been
// restarted. An engine refuses such a request before it computes anything.
func (s *requestState) lacksResponse(r *http.Request) (elsewhere bool) {
	if s.atHolder {
		return false
	}
	s.searched = s.searched || s.policy.observed.searched.due(searchInterval, s.policy.shared.now())
	return s.searched && s.tries.Untried > 0
}

// remember notes that an upstream has the response with this ID.
func (s *shared) remember(id, upstream string) {
	s.responses.Record(responses.KeyOf(s.signing.Load().key, id), upstream)
}

// Response is called when the engine names the response of its answer.
func (s *requestState) Response(id string) {
	if s.accepted && s.tries.Attempt != nil {
		s.policy.shared.remember(id, s.tries.Attempt.Address())
	}
}

// unsignedAnswer reads the answer to a request without a signature, for the ID of
// a stored response.
type unsignedAnswer struct{ *requestState }

// Header implements janitor.Observer.
func (a unsignedAnswer) Header(status int, _ http.Header) {
	a.accepted = status >= 200 && status < 300
}

// FirstToken implements janitor.Observer.
func (unsignedAnswer) FirstToken() {}

// Usage implements janitor.Observer.
func (unsignedAnswer) Usage(answer.Usage) {}

// Finish implements janitor.Observer.
func (unsignedAnswer) Finish(bool) {}

// End implements janitor.Observer.
func (a unsignedAnswer) End(err error) { a.tries.End(err == nil, errors.Is(err, janitor.ErrCut)) }

// Interface guards
var _ janitor.Observer = unsignedAnswer{}
