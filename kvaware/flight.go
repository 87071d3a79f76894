// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/bauxite/caddy-kvaware/janitor"
	"github.com/bauxite/caddy-kvaware/janitor/answer"
	"github.com/bauxite/caddy-kvaware/kvaware/fleet"
)

// flightVar is the request variable that holds its flight.
const flightVar = "kv_aware.flight"

// flight is one request that a policy routes: it reads the answer for the
// fleet. All of it happens in the request's goroutine.
type flight struct {
	*fleet.Request // nil: it has no signature, the fallback routes it
	policy         *Policy

	address  string // of this attempt's pick
	cached   int    // prompt tokens predicted to be cached there
	answered bool   // the answer has begun
	accepted bool   // the engine has answered with success
	reported bool   // it has told how many prompt tokens were cached
	tried    []string
}

// flight returns what follows this request, made at its first attempt. Making
// it is also when the request gets what the policy adds to its body.
func (p *Policy) flight(x *janitor.Exchange, r *http.Request) *flight {
	if fl, ok := caddyhttp.GetVar(r.Context(), flightVar).(*flight); ok && fl.policy == p {
		return fl
	}
	fl := &flight{policy: p}
	caddyhttp.SetVar(r.Context(), flightVar, fl)
	signing := p.shared.signing.Load()
	who := p.tenant(r, signing.key)
	if p.CacheSalt {
		x.Salt(who.id)
	}
	request, ok := p.sign(x, who, signing)
	if !ok {
		return fl
	}
	if p.Usage == "inject" {
		x.AskUsage()
	}
	fl.Request = request
	x.Observe(fl)
	return fl
}

// sign makes of a scrubbed request what the fleet needs to know of it. It
// reports false when it has no signature.
func (p *Policy) sign(x *janitor.Exchange, who tenant, signing *signingKey) (*fleet.Request, bool) {
	signature, ok := x.Sign(signing.key, x.Model(), who.id, p.BlockSize, p.RadixDepth)
	if !ok {
		return nil, false
	}
	prompt := fleet.Prompt{
		Tokens:      signature.PromptBytes() / fleet.BytesPerToken,
		BlockTokens: signature.BlockSize() / fleet.BytesPerToken,
		Epoch:       signing.epoch,
		Stream:      x.Stream(),
		Cut:         signature.Cut(),
	}
	if !who.nobody {
		prompt.Chain = signature.Chain()
	}
	return p.shared.fleet.NewRequest(prompt), true
}

// depart notes where an attempt goes.
func (fl *flight) depart(address string, d fleet.Decision) {
	fl.address, fl.cached = address, d.Cached
	fl.policy.shared.metrics.picked(address, d.Reason)
}

// failed notes that the attempt before has failed: Caddy tells a policy so
// only by asking it again.
func (fl *flight) failed() {
	if fl.address != "" {
		fl.policy.shared.engines.watch.Suspect(fl.address)
		fl.tried = append(fl.tried, fl.address)
		fl.address = ""
		fl.Request.End()
	}
}

// Header is called when the answer's header is committed: there will be no
// further attempt.
func (fl *flight) Header(status int, h http.Header) {
	fl.answered = true
	if fl.accepted = status >= 200 && status < 300; fl.accepted {
		fl.Confirm()
		fl.policy.shared.engines.watch.Answered(fl.address)
		if strings.HasPrefix(h.Get("Content-Type"), "text/event-stream") {
			return // its first token is still to come
		}
	}
	// A whole answer, or a refusal: nothing waits for its prefill any more.
	fl.Request.FirstToken()
}

// FirstToken is called when the first token of an answer was read.
func (fl *flight) FirstToken() {
	if ttft, ok := fl.Request.FirstToken(); ok {
		fl.policy.shared.metrics.ttft.WithLabelValues(fl.address).Observe(ttft.Seconds())
	}
}

// Usage is called when the engine has reported its token counts.
func (fl *flight) Usage(u answer.Usage) {
	if !fl.accepted || fl.reported || !u.Cached {
		return
	}
	fl.reported = true
	fl.Reported(u.PromptTokens, u.CachedTokens)
	fl.policy.shared.metrics.compare(fl.address, fl.cached, u)
}

// End is called once, when the request is over in whatever way.
func (fl *flight) End(error) {
	fl.Request.End()
	if !fl.answered && fl.address != "" {
		fl.policy.shared.engines.watch.Suspect(fl.address) // it may be gone
	}
	if !fl.accepted || fl.reported {
		return
	}
	fl.policy.shared.metrics.usageMissing.WithLabelValues(fl.address).Inc()
	if fl.policy.shared.firstWarning(fl.address) {
		fl.policy.logger.Warn("the engine does not report cached tokens, so predictions cannot be checked "+
			"(vLLM: --enable-prompt-tokens-details; in streams only with stream_options.include_usage)",
			zap.String("upstream", fl.address))
	}
}

// Interface guards
var _ janitor.Observer = (*flight)(nil)
