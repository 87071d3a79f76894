// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/lmcache"
	"github.com/bauxite/caddy-kvaware/internal/routing"
)

// task implements Task. It keeps the prompt's tokens until the request ends. They
// are wiped then, or when LMCache has been sent them, whichever is later.
type task struct {
	stager  *stager
	prompt  Prompt
	routing *routing.Request

	// Only the goroutine that serves the request uses these.
	request       Request           // nil once it has ended
	expected      *nextTurn         // the request is this turn; nil: it was not expected
	candidates    []string          // addresses
	offloads      []routing.Offload // LMCache's known blocks, for some candidates
	offloadsKnown bool              // LMCache has answered about some of them
	lastAttempt   int               // the attempt that the tokens were last fetched for
	held          time.Duration     // time that the request was held, in all
	forTokens     Retained          // to fetch the tokens after the answer; nil: not needed
	forWarming    Retained          // to warm the GPU; nil: it is not warmed

	mu        sync.Mutex
	tokens    *sharedTokens // nil: not there yet
	fetched   chan struct{} // closed when the tokens have arrived, or cannot be had; nil: they are not being fetched
	wanted    stagingOrder  // the order that waits for the tokens
	staging   *lmcache.Staging
	stagingAt string // upstream
	lookup    bool   // look the prompt up when its tokens are there
	ended     bool   // the request is over
}

// stagingOrder is an order to LMCache that waits for the prompt's tokens.
type stagingOrder struct {
	upstream string // "": there is no order
	key      uint64 // of the part of the prompt to stage
	expected int    // tokens of it that LMCache is estimated to hold
	deadline time.Time
}

// Begin implements Stager.
func (s *stager) Begin(r Request) Task {
	t := &task{stager: s, request: r, prompt: r.Prompt(), routing: r.Routing()}
	t.expected = s.turns.arrived(func(yield func(uint64) bool) {
		for _, end := range t.prompt.Ends {
			if !yield(t.prompt.key(end)) {
				return
			}
		}
	})
	return t
}

// Consult implements Task.
func (t *task) Consult(candidates []routing.Candidate) {
	if t.stager.lookups {
		t.candidates = t.candidates[:0]
		for i := range candidates {
			t.candidates = append(t.candidates, candidates[i].Address)
		}
	}
	t.offloads, t.offloadsKnown = t.stager.Consult(&t.prompt, candidates, t.offloads)
}

// Send implements Task.
func (t *task) Send(ctx context.Context, a Attempt) (fetching bool) {
	s, o := t.stager, t.routing.Prediction()
	m := moment{
		wait:     o.Wait,
		perToken: o.PerToken,
		lead:     time.Duration(s.lead.Load()),
		failover: a.Failed > 0 || o.Longest-o.LongestCandidate >= leastStaged && a.InPool(o.LongestAt),
		limit:    s.wait - t.held,
	}
	m.missing, m.own = missing(o)
	m.expected = s.service.ExpectedTime(a.Upstream, m.missing)
	stage, hold := m.decide()
	if n, _ := s.service.NodeCounts(a.Upstream); n.Resting {
		hold = 0 // it will not be asked
	}
	underWay := stage && t.stage(stagingOrder{a.Upstream, t.prompt.stored(o), expected(o), m.until(time.Now(), hold)})
	fetching = (stage && !underWay || s.lookups && !t.offloadsKnown) && t.needsTokens(a.Failed)
	if fetching {
		t.fetch(a)
	}
	if stage && hold > 0 {
		t.hold(ctx, hold)
	}
	return fetching
}

// stage gives LMCache an order, or keeps it until the prompt's tokens are there. It
// reports whether a staging is under way, for this request or another one: it
// needs no tokens then.
func (t *task) stage(o stagingOrder) (underWay bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wanted = stagingOrder{}
	if st := t.stager.service.Current(o.upstream, o.key); st != nil {
		t.staging, t.stagingAt = st, o.upstream
		return true
	}
	t.wanted = o
	t.giveOrder()
	return t.wanted.upstream == ""
}

// giveOrder gives LMCache the wanted order if the tokens are there. The caller
// holds mu.
func (t *task) giveOrder() {
	if t.tokens == nil || t.wanted.upstream == "" {
		return
	}
	p := t.prefix(t.tokens, t.wanted.key)
	p.Expected, p.Deadline = t.wanted.expected, t.wanted.deadline
	t.staging, t.stagingAt = t.stager.order(t.wanted.upstream, p, t.tokens), t.wanted.upstream
	t.wanted = stagingOrder{}
}

func (t *task) prefix(tokens *sharedTokens, key uint64) lmcache.Prefix {
	return lmcache.Prefix{Model: t.prompt.Model, Salt: t.prompt.Salt, Tokens: tokens.ids, Key: key}
}

// needsTokens reports whether the tokens are neither there nor on their way from
// an engine that has not failed.
func (t *task) needsTokens(failed int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tokens == nil && (t.fetched == nil || failed > 0)
}

// fetch has the prompt's tokens fetched from an attempt's upstream.
func (t *task) fetch(a Attempt) {
	t.lastAttempt = a.Failed
	arrived := t.Await()
	if kept, ok := t.request.Retain(); !ok || !kept.Fetch(a.Upstream, a.Failed, arrived) {
		arrived(nil)
	}
}

// Await implements Task.
func (t *task) Await() (arrived func(ids []uint32)) {
	start, done := time.Now(), make(chan struct{})
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fetched = done
	return func(ids []uint32) {
		t.mu.Lock()
		defer t.mu.Unlock()
		defer close(done)
		if t.lookup {
			t.startLookup(t.stager.tokens.keep(ids))
		}
		if t.tokens != nil || t.ended {
			return
		}
		if t.tokens = t.stager.tokens.keep(ids); t.tokens != nil {
			t.stager.learnLead(time.Since(start))
		}
		t.giveOrder()
	}
}

// hold waits for the tokens and then for the end of the staging: in all for d at
// most, and not longer than the client does.
func (t *task) hold(ctx context.Context, d time.Duration) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	t.mu.Lock()
	fetched := t.fetched
	t.mu.Unlock()
	if fetched != nil {
		await(ctx, fetched)
	}
	t.mu.Lock()
	st := t.staging
	t.mu.Unlock()
	if st != nil {
		await(ctx, st.Done())
	}
	took := time.Since(start)
	t.held += took
	t.stager.totals.countHold(took)
}

func await(ctx context.Context, done <-chan struct{}) {
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// Accepted implements Task.
func (t *task) Accepted() {
	if !t.prompt.Tools {
		return
	}
	t.mu.Lock()
	there := t.tokens != nil
	t.mu.Unlock()
	if !there {
		t.forTokens, _ = t.request.Retain()
	}
	if t.stager.warmer != nil {
		t.forWarming, _ = t.request.Retain()
	}
}

// Reported implements Task.
func (t *task) Reported(upstream string, cached int) {
	if t.expected != nil {
		t.expected.used(upstream, cached)
	}
	t.mu.Lock()
	st, at := t.staging, t.stagingAt
	t.mu.Unlock()
	if at == upstream {
		markUsed(st, cached)
	}
}

// Unreported implements Task.
func (t *task) Unreported(upstream string) { t.Reported(upstream, math.MaxInt/2) }

// ExpectNext implements Task.
func (t *task) ExpectNext(upstream string) {
	s := t.stager
	next := s.turns.expect(t.prompt.whole(), upstream)
	t.mu.Lock()
	there := t.tokens != nil
	if there {
		t.stageNext(next, t.tokens)
	}
	t.mu.Unlock()
	if !there && t.forTokens != nil {
		t.forTokens.Fetch(upstream, t.lastAttempt, func(ids []uint32) {
			if tokens := s.tokens.keep(ids); tokens != nil {
				t.stageNext(next, tokens)
				tokens.release()
			}
		})
		t.forTokens = nil
	}
	if t.forWarming != nil {
		request := t.routing
		s.warmer.schedule(next, s.turns.usualGap()*3/4, func() bool { return evicted(request, upstream) }, t.forWarming)
		t.forWarming = nil
	}
}

// stageNext stages for the next turn.
func (t *task) stageNext(next *nextTurn, tokens *sharedTokens) {
	next.staged(t.stager.order(next.upstream, t.prefix(tokens, t.prompt.nextTurn()), tokens))
}

// evicted reports whether an upstream is predicted to hold less of a request's
// prompt on its GPU than it was sent.
func evicted(request *routing.Request, upstream string) bool {
	forecasts, _ := request.Explain([]routing.Candidate{{Address: upstream}})
	return len(forecasts) == 1 && request.Tokens()-(forecasts[0].Cached-forecasts[0].External) >= leastStaged
}

// End implements Task.
func (t *task) End(accepted bool) {
	for _, kept := range []Retained{t.forTokens, t.forWarming} {
		if kept != nil {
			kept.Release()
		}
	}
	t.forTokens, t.forWarming, t.request = nil, nil, nil
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended, t.wanted = true, stagingOrder{}
	lookup := accepted && t.stager.lookups && len(t.candidates) > 0
	switch {
	case t.tokens == nil:
		t.lookup = lookup // they may be on their way
	case lookup:
		t.startLookup(t.tokens)
	default:
		t.tokens.release()
	}
}

// startLookup asks LMCache which nodes hold the prompt, and releases the tokens. The
// caller holds mu.
func (t *task) startLookup(tokens *sharedTokens) {
	t.lookup = false
	if tokens != nil {
		t.stager.service.StartLookup(t.prefix(tokens, t.prompt.whole()), t.candidates, tokens.release)
	}
}
