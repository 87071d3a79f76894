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

	model string
	text  int // bytes of rendition, 0 when there is more than text in the prompt

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
	signature, request, ok := p.sign(x, who, signing)
	if !ok {
		return fl
	}
	if p.Usage == "inject" {
		x.AskUsage()
	}
	fl.Request, fl.model = request, x.Model()
	if signature.Media() == 0 {
		fl.text = signature.PromptBytes()
	}
	x.Observe(fl)
	return fl
}

// mediaTokens is what an image or another medium is taken to cost: the 24 by 24
// patches of LLaVA-1.5 (https://arxiv.org/abs/2310.03744), and the order of
// magnitude of other models.
const mediaTokens = 576

// sign makes of a scrubbed request what the fleet needs to know of it. It
// reports false when it has no signature.
func (p *Policy) sign(x *janitor.Exchange, who tenant, signing *signingKey) (janitor.Signature, *fleet.Request, bool) {
	signature, ok := x.Sign(signing.key, x.Model(), who.id, p.BlockSize, p.RadixDepth)
	if !ok {
		return signature, nil, false
	}
	perToken := p.shared.fleet.BytesPerToken(x.Model())
	prompt := fleet.Prompt{
		Tokens:      int(float64(signature.PromptBytes())/perToken) + signature.Media()*mediaTokens,
		BlockTokens: max(1, int(float64(signature.BlockSize())/perToken)),
		Epoch:       signing.epoch,
		Stream:      x.Stream(),
		Cut:         signature.Cut(),
	}
	if !who.nobody {
		prompt.Chain = signature.Chain()
	}
	return signature, p.shared.fleet.NewRequest(prompt), true
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
	if fl.accepted && fl.text > 0 {
		fl.policy.shared.fleet.LearnTokens(fl.model, fl.text, u.PromptTokens)
	}
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
