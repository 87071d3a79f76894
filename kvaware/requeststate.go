// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/bauxite/caddy-kvaware/internal/answer"
	"github.com/bauxite/caddy-kvaware/internal/routing"
	"github.com/bauxite/caddy-kvaware/internal/staging"
	"github.com/bauxite/caddy-kvaware/internal/transport"
	"github.com/bauxite/caddy-kvaware/janitor"
)

// stateVar is the request variable that holds the requestState.
const stateVar = "kv_aware.state"

// requestState holds the state of one request over all its attempts. It also
// reads the answer for the router. Only the request's goroutine uses it.
type requestState struct {
	policy   *Policy
	exchange *janitor.Exchange
	tries    *transport.Tries
	signedRequest

	staging  staging.Task
	tokens   tokenFetch
	unlisted bool                      // its model is looked for at all upstreams
	atHolder bool                      // it was sent to the upstream that has its stored response
	searched bool                      // its stored response is looked for at several upstreams
	pool     reverseproxy.UpstreamPool // all upstreams of the proxy, at the last attempt

	// Of the attempt under way.
	address  string // "": none is
	cached   int    // prompt tokens predicted to be cached there
	external int    // of these, to be loaded from outside its GPU

	// Of the answer.
	answered bool // its header has come
	accepted bool // with a status of success
	counted  bool // the engine has reported how long the prompt was
	reported bool // and how much of it was cached
}

// requestState returns the state of a request. The first attempt makes it, and
// adds the policy's members to the body. pool holds all upstreams of the proxy.
func (p *Policy) requestState(x *janitor.Exchange, pool reverseproxy.UpstreamPool, r *http.Request) *requestState {
	if s, ok := caddyhttp.GetVar(r.Context(), stateVar).(*requestState); ok && s.policy == p {
		return s
	}
	s := &requestState{policy: p, exchange: x, tries: p.tries(r)}
	caddyhttp.SetVar(r.Context(), stateVar, s)
	switch {
	case x.AsksForModel():
		s.tries.LacksModel = func() bool { return s.lacksModel(r) }
	case x.StoredResponse() != "":
		s.tries.LacksModel = func() bool { return s.lacksResponse(r) }
	}
	if p.KeepAlive > 0 {
		x.KeepAlive(time.Duration(p.KeepAlive))
	}
	signing := p.shared.signing.Load()
	t := p.tenant(r, signing.key)
	if p.CacheSalt {
		x.Salt(t.id)
	}
	if s.signedRequest = p.sign(x, t, signing, pool, r); !s.signed() {
		if x.MayStore() {
			s.tries.Observed = true
			x.Observe(unsignedAnswer{s})
		}
		return s
	}
	p.limitWait(&s.signedRequest, x, t, r)
	if p.Usage == usageInject {
		x.AskUsage()
	}
	s.staging = p.stager.Begin((*stagedRequest)(s))
	s.tries.Observed = true
	x.Observe(s)
	return s
}

// beginAttempt notes an attempt's upstream.
func (s *requestState) beginAttempt(address string, d routing.Decision) {
	s.address, s.cached, s.external = address, d.Cached, d.External
}

// attemptFailed ends the attempt before, if there was one.
func (s *requestState) attemptFailed() {
	if s.address == "" {
		return
	}
	s.policy.shared.upstreams.Suspect(s.address)
	s.tokens.attemptFailed(s.address)
	s.address = ""
	s.request.End()
}

// Header is called when the answer's header is committed: there will be no
// further attempt.
func (s *requestState) Header(status int, h http.Header) {
	s.answered = true
	if s.accepted = status >= 200 && status < 300; s.accepted {
		s.request.Confirm()
		s.policy.shared.upstreams.Answered(s.address)
		s.staging.Accepted()
		if strings.HasPrefix(h.Get("Content-Type"), "text/event-stream") {
			return // its first token is still to come
		}
	}
	// A whole answer, or a refusal: nothing waits for its prefill any more.
	s.request.FirstToken()
}

// FirstToken is called when the first token of an answer was read.
func (s *requestState) FirstToken() {
	if ttft, ok := s.request.FirstToken(); ok {
		s.policy.shared.metrics.ttft.WithLabelValues(s.address).Observe(ttft.Seconds())
	}
}

// Usage is called when the engine has reported its token counts.
func (s *requestState) Usage(u answer.Usage) {
	if !s.accepted {
		return
	}
	s.counted = true
	router := s.policy.shared.router
	if s.media > 0 {
		router.LearnMedia(s.lineages.base.Lineage, s.media, s.promptBytes, u.PromptTokens)
	} else {
		router.LearnTokens(s.lineages.base.Lineage, s.promptBytes, u.PromptTokens)
	}
	if s.reported || !u.Cached {
		return
	}
	s.reported = true
	s.policy.shared.cacheReports.Reported(s.address)
	s.request.Reported(u.PromptTokens, u.CachedTokens)
	s.policy.shared.metrics.compare(s.address, s.cached, s.external, u)
	s.staging.Reported(s.address, u.CachedTokens)
}

// Finish is called when the answer is complete.
func (s *requestState) Finish(toolCalls bool) {
	if toolCalls && s.accepted {
		s.staging.ExpectNext(s.address)
	}
}

// End is called once, when the request is over, however it ended.
func (s *requestState) End(err error) {
	s.tries.End(err == nil, errors.Is(err, janitor.ErrCut))
	s.request.End()
	s.staging.End(s.accepted)
	if !s.answered && s.address != "" {
		s.policy.shared.upstreams.Suspect(s.address) // it may be gone
	}
	if s.accepted && !s.reported {
		s.unreported(err)
	}
}

// unreported notes that the answer did not report cached tokens. Only whole answers
// say something about the engine, and only to prompts that it should have had in part:
// older vLLM leaves a count of 0 out.
func (s *requestState) unreported(err error) {
	shared := s.policy.shared
	s.staging.Unreported(s.address)
	shared.metrics.usageMissing.WithLabelValues(s.address).Inc()
	if err != nil || s.cached == 0 {
		return
	}
	unasked := !s.counted && s.exchange.Stream() && s.policy.Usage != usageInject
	if warning := shared.cacheReports.Unreported(s.address, unasked); warning != "" {
		s.policy.logger.Warn(warning, zap.String("upstream", s.address))
	}
}

// Interface guards
var _ janitor.Observer = (*requestState)(nil)
