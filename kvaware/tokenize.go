// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/bauxite/caddy-kvaware/internal/routing"
)

// When a prompt's tokens are fetched from an engine.
const (
	tokenizeAfter  = "after"  // beside the request, for later prompts
	tokenizeInline = "inline" // before routing, within a deadline
	tokenizeOff    = "off"
)

const (
	// defaultTokenizeDeadline is the default of tokenize_deadline.
	defaultTokenizeDeadline = 20 * time.Millisecond

	// maxTokenizeDeadline bounds tokenize_deadline: engines compute most prompts
	// in less.
	maxTokenizeDeadline = 10 * time.Second
)

var (
	errTokenize      = errors.New("tokenize takes after, inline with at most 10s to wait, or off")
	errTokenizeAlone = errors.New("tokenize needs events or lmcache: nothing else asks for tokens")
	errStagingBlind  = errors.New("lmcache needs tokens: tokenize cannot be off")
)

// setTokenizeDefaults fills in the options of fetching tokens.
func (p *Policy) setTokenizeDefaults() {
	if p.Tokenize == "" && (p.Events != nil || p.LMCache != nil) {
		p.Tokenize = tokenizeAfter
	}
	if p.Tokenize == tokenizeInline && p.TokenizeDeadline == 0 {
		p.TokenizeDeadline = caddy.Duration(defaultTokenizeDeadline)
	}
}

// checkTokenizeNeeds refuses tokenize where nothing needs tokens, and the lack
// of tokens where something does.
func (p *Policy) checkTokenizeNeeds() error {
	switch {
	case p.Tokenize == "" && p.TokenizeDeadline == 0:
		return nil
	case p.Events == nil && p.LMCache == nil:
		return errTokenizeAlone
	case p.Tokenize == tokenizeOff && p.LMCache != nil:
		return errStagingBlind
	}
	return checkTokenize(p.Tokenize, time.Duration(p.TokenizeDeadline))
}

// checkTokenize refuses values that are out of range. Deadline 0: the default.
func checkTokenize(value string, deadline time.Duration) error {
	switch value {
	case tokenizeAfter, tokenizeOff:
		if deadline != 0 {
			return errTokenize
		}
	case tokenizeInline:
		if deadline < 0 || deadline > maxTokenizeDeadline {
			return errTokenize
		}
	default:
		return errTokenize
	}
	return nil
}

// parseTokenize reads `tokenize after|inline [<duration>]|off`.
func (p *Policy) parseTokenize(d *caddyfile.Dispenser, o options) error {
	if err := o.note(d); err != nil {
		return err
	}
	args := d.RemainingArgs()
	if len(args) == 0 || len(args) > 2 || len(args) == 2 && args[0] != tokenizeInline {
		return d.WrapErr(errTokenize)
	}
	var deadline caddy.Duration
	if len(args) == 2 {
		var err error
		if deadline, err = parseDuration(args[1], 1, errTokenize); err != nil {
			return d.WrapErr(err)
		}
	}
	if err := checkTokenize(args[0], time.Duration(deadline)); err != nil {
		return d.WrapErr(err)
	}
	p.Tokenize, p.TokenizeDeadline = args[0], deadline
	return nil
}

// fetchTokens has the prompt's tokens fetched beside the request, if later
// prompts can use them.
func (p *Policy) fetchTokens(s *requestState) {
	if p.Events == nil || p.Tokenize == tokenizeOff || s.request.TokensKnown() {
		return
	}
	if s.tokens.awaited(s.address) && s.lineages.at(s.tokens.from) == s.lineages.at(s.address) {
		return
	}
	p.fetch(s, s.address, s.staging.Await())
}

// fetchTokensFirst waits for the prompt's tokens before routing, if that is
// wanted and they are not known, until the deadline. The fetch goes on beside
// the request.
func (p *Policy) fetchTokensFirst(r *http.Request, s *requestState, candidates []routing.Candidate) {
	if p.Events == nil || p.Tokenize != tokenizeInline || s.tokens.from != "" || !s.request.NeedsTokens(candidates) {
		return
	}
	address := p.leastBusyTokenizer(candidates)
	if address == "" {
		return // waiting is in vain: fetchTokens finds out whether an engine has recovered
	}
	done, arrived := make(chan struct{}), s.staging.Await()
	if p.fetch(s, address, func(ids []uint32) { arrived(ids); close(done) }) {
		waitFor(r.Context(), done, time.Duration(p.TokenizeDeadline))
	}
}

// leastBusyTokenizer returns the candidate to ask for tokens, "" when all fail.
func (p *Policy) leastBusyTokenizer(candidates []routing.Candidate) string {
	best := -1
	for i, c := range candidates {
		if (best < 0 || c.Requests < candidates[best].Requests) && !p.shared.tokens.Failing(c.Address) {
			best = i
		}
	}
	if best < 0 {
		return ""
	}
	return candidates[best].Address
}

// fetch has the prompt's tokens fetched from an engine. It calls use once: with
// the tokens or with nil, at once when it returns false.
func (p *Policy) fetch(s *requestState, address string, use func(ids []uint32)) bool {
	s.tokens.begin(address)
	prompt := s.promptAt(address)
	prompt.Attempt = s.tokens.number
	vain := s.tokens.vain
	found := func(ids []uint32) {
		vain.Store(ids == nil)
		use(ids)
	}
	kept, ok := s.exchange.Retain()
	if ok && p.shared.tokens.Fetch(prompt, kept, address, found) {
		return true
	}
	found(nil)
	return false
}

// tokenFetch is the latest fetch of a prompt's tokens, for one request. The tokens are
// to come from the engine that answers the request: the one asked first may be dead.
type tokenFetch struct {
	from   string       // the engine that was asked; "": none is
	vain   *atomic.Bool // there are no tokens from it; nil: staging gets them
	number uint64       // of the fetch
}

// begin notes that an engine is asked. A further fetch has another number, since the
// one before may still be under way.
func (f *tokenFetch) begin(from string) {
	if f.vain != nil {
		f.number++
	}
	f.from, f.vain = from, new(atomic.Bool)
}

// awaited reports whether a fetch for a request that goes to an upstream would be one
// too many. Another engine that gave nothing is not asked again, but this one is.
func (f *tokenFetch) awaited(upstream string) bool {
	return f.from != "" && (f.from == upstream || f.vain == nil || !f.vain.Load())
}

// attemptFailed notes that the request has failed at an upstream: its tokens may not
// come either.
func (f *tokenFetch) attemptFailed(upstream string) {
	if f.from == upstream {
		f.from = ""
	}
}

// waitFor waits until done is closed, but not longer than d.
func waitFor(ctx context.Context, done <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	case <-ctx.Done():
	}
}
