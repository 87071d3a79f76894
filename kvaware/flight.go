// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/bauxite/caddy-kvaware/internal/answer"
	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
	"github.com/bauxite/caddy-kvaware/internal/routing"
	"github.com/bauxite/caddy-kvaware/internal/staging"
	"github.com/bauxite/caddy-kvaware/janitor"
)

// flightVar is the request variable that holds its flight.
const flightVar = "kv_aware.flight"

// flight is one request that a policy routes: it reads the answer for the
// fleet. All of it happens in the request's goroutine.
type flight struct {
	*routing.Request // nil: it has no signature, the fallback routes it
	policy           *Policy
	exchange         *janitor.Exchange

	prompt  text // as it was signed
	asked   bool // its tokens are being fetched
	staging staging.Task

	model string
	text  int // bytes of rendition
	media int // images and the like

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
	signed, request, ok := p.sign(x, who, signing)
	if !ok {
		return fl
	}
	if p.Usage == "inject" {
		x.AskUsage()
	}
	fl.Request, fl.model, fl.prompt = request, x.Model(), signed
	fl.text, fl.media = signed.signature.PromptBytes(), signed.signature.Media()
	fl.exchange = x
	fl.staging = p.stager.Begin((*stagedRequest)(fl))
	x.Observe(fl)
	return fl
}

// sign makes of a scrubbed request what the fleet needs to know of it. It
// reports false when it has no signature.
func (p *Policy) sign(x *janitor.Exchange, who tenant, signing *signingKey) (text, *routing.Request, bool) {
	sharers, salt := who.id, x.CacheSalt()
	if salt != who.id {
		sharers += "\x00" + salt // the client's own: the engine keeps it apart
	}
	signature, ok := x.Sign(signing.key, x.Model(), sharers, p.BlockSize, p.RadixDepth)
	if !ok {
		return text{}, nil, false
	}
	signed := text{signature: signature, epoch: signing.epoch, salt: salt, alone: p.Events == nil}
	if p.Events != nil {
		signed.lineage = routing.TokenKey{
			Model:   x.Model(),
			Adapter: p.shared.router.Index().Adapter(x.Model()),
			Salt:    kvevents.SaltExtra(salt),
			Variant: signature.Variant(),
		}
	}
	perToken := p.shared.router.BytesPerToken(x.Model())
	prompt := routing.Prompt{
		Tokens:      int(float64(signature.PromptBytes()) / perToken),
		BlockTokens: max(1, int(float64(signature.BlockSize())/perToken)),
		Epoch:       signing.epoch,
		Stream:      x.Stream(),
		Truncated:   signature.Cut(),
		BlockBytes:  signature.BlockSize(),
		TokenKey:    signed.lineage,

		OffloadWeights: p.offloadWeights,
	}
	if signature.Media() == 0 {
		prompt.Bytes = signature.PromptBytes()
	}
	if p.Events != nil {
		for _, end := range signature.Ends() {
			prompt.MessageEnds = append(prompt.MessageEnds, routing.MessageEnd(end))
		}
	}
	if media := signature.Media(); media > 0 {
		prompt.Tokens += int(float64(media) * p.shared.router.MediaTokens(x.Model()))
	}
	if !who.nobody {
		prompt.Chain = signature.Chain()
	}
	return signed, p.shared.router.NewRequest(prompt), true
}

// learnTokens has the prompt's tokens fetched, if they are of use to others that
// come after it.
func (p *Policy) learnTokens(x *janitor.Exchange, fl *flight) {
	if fl.asked || p.Events == nil || p.Tokenize == tokenizeOff || fl.TokensKnown() && p.shared.following.begun() {
		return
	}
	fl.asked = true
	arrived := fl.staging.Await()
	if !p.shared.prompts.fetch(x, fl.prompt, fl.address, arrived) {
		arrived(nil)
	}
}

// tokenizeFirst waits for the prompt's tokens before it is routed, if that is
// wanted and they are not known: for no longer than it is allowed to. Then they
// are learned beside the request.
func (p *Policy) tokenizeFirst(r *http.Request, x *janitor.Exchange, fl *flight, targets []routing.Candidate) {
	if fl.asked || p.Events == nil || p.Tokenize != tokenizeInline || len(targets) == 0 || !fl.NeedsTokens(targets) {
		return
	}
	idlest := -1
	for i, t := range targets {
		if (idlest < 0 || t.Requests < targets[idlest].Requests) && !p.shared.prompts.queue.Failing(t.Address) {
			idlest = i
		}
	}
	if idlest < 0 {
		return // it would wait in vain: an engine is asked beside the request, to see whether it is well again
	}
	fl.asked = true
	done, arrived := make(chan struct{}), fl.staging.Await()
	if p.shared.prompts.fetch(x, fl.prompt, targets[idlest].Address, func(ids []uint32) { arrived(ids); close(done) }) {
		wait(r.Context(), done, time.Duration(p.TokenizeDeadline))
	} else {
		arrived(nil)
	}
}

// depart notes where an attempt goes.
func (fl *flight) depart(address string, d routing.Decision) {
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
		fl.staging.Accepted()
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
	switch {
	case !fl.accepted:
	case fl.media > 0:
		fl.policy.shared.router.LearnMedia(fl.model, fl.media, fl.text, u.PromptTokens)
	default:
		fl.policy.shared.router.LearnTokens(fl.model, fl.text, u.PromptTokens)
	}
	if !fl.accepted || fl.reported || !u.Cached {
		return
	}
	fl.reported = true
	fl.Reported(u.PromptTokens, u.CachedTokens)
	fl.policy.shared.metrics.compare(fl.address, fl.cached, u)
	fl.staging.Reported(fl.address, u.CachedTokens)
}

// Finish is called when the answer is complete.
func (fl *flight) Finish(toolCalls bool) {
	if toolCalls && fl.accepted {
		fl.staging.ExpectNext(fl.address)
	}
}

// End is called once, when the request is over in whatever way.
func (fl *flight) End(error) {
	fl.Request.End()
	fl.staging.End(fl.accepted)
	if !fl.answered && fl.address != "" {
		fl.policy.shared.engines.watch.Suspect(fl.address) // it may be gone
	}
	if !fl.accepted || fl.reported {
		return
	}
	fl.staging.Unreported(fl.address)
	fl.policy.shared.metrics.usageMissing.WithLabelValues(fl.address).Inc()
	if fl.policy.shared.firstWarning(fl.address) {
		fl.policy.logger.Warn("the engine does not report cached tokens, so predictions cannot be checked "+
			"(vLLM: --enable-prompt-tokens-details; in streams only with stream_options.include_usage)",
			zap.String("upstream", fl.address))
	}
}

// Interface guards
var _ janitor.Observer = (*flight)(nil)
