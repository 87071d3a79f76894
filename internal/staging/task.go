// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"context"
	"sync"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/lmcache"
	"github.com/bauxite/caddy-kvaware/internal/routing"
)

// task is what is done for one request to have its KV blocks staged. Its
// tokens are kept until the request ends, and wiped then or when LMCache has
// been sent them, whichever is later.
type task struct {
	stager *stager
	prompt Prompt
	routed *routing.Request

	// Of the goroutine that serves the request.
	request   Request           // nil once it has ended
	attempt   int               // of which the tokens were wanted last
	before    *turn             // that this is the next one of
	upstreams []string          // that could have been picked
	offloads  []routing.Offload // what LMCache is known to hold there
	known     bool              // LMCache has said so
	kept      Retained          // to fetch the tokens of after the answer; nil: not needed
	warm      Retained          // to warm the GPU with; nil: it is not
	held      time.Duration     // the request was, for so long

	mu      sync.Mutex
	tokens  *keptTokens   // nil: not there
	arrival chan struct{} // closed when those on their way are there, or will not be; nil: none are
	to      string        // where to stage when they are there, "" nowhere
	as      uint64        // what is to be staged then, by its name
	until   time.Time     // when that is of no use any more; zero: never
	ask     bool          // who holds the prompt, when its tokens are there
	staging *lmcache.Staging
	at      string // where that is
	over    bool   // the request is
}

// Begin implements Stager.
func (s *stager) Begin(r Request) Task {
	e := &task{stager: s, request: r, prompt: r.Prompt(), routed: r.Routing()}
	e.before = s.turns.arrived(func(yield func(uint64) bool) {
		for _, end := range e.prompt.Ends {
			if !yield(e.prompt.key(end)) {
				return
			}
		}
	})
	return e
}

// Consult implements Task.
func (e *task) Consult(candidates []routing.Candidate) {
	if !e.stager.looks {
		return
	}
	e.upstreams = e.upstreams[:0]
	for i := range candidates {
		e.upstreams = append(e.upstreams, candidates[i].Address)
	}
	e.offloads, e.known = e.stager.Consult(&e.prompt, candidates, e.offloads)
}

// Send implements Task.
func (e *task) Send(ctx context.Context, a Attempt) (fetching bool) {
	s := e.stager
	m := moment{lead: time.Duration(s.lead.Load()), limit: s.wait - e.held}
	o := e.routed.Prediction()
	m.failover = a.Failed > 0 || o.Longest-o.LongestCandidate >= leastStaged && a.InPool(o.LongestAt)
	m.missing, m.own = missing(o)
	m.wait, m.perToken = o.Wait, o.PerToken
	m.expected = s.service.ExpectedTime(a.Upstream, m.missing)
	wanted, hold := m.decide()
	if n, _ := s.service.NodeCounts(a.Upstream); n.Resting {
		hold = 0 // it will not be asked
	}
	under := wanted && e.want(a.Upstream, e.prompt.stored(o), m.until(time.Now(), hold))
	if (wanted && !under || s.looks && !e.known) && e.lacks(a.Failed) {
		e.fetch(a)
		fetching = true
	}
	if wanted && hold > 0 {
		e.hold(ctx, hold)
	}
	return fetching
}

// fetch has the prompt's tokens fetched where an attempt goes.
func (e *task) fetch(a Attempt) {
	e.attempt = a.Failed
	arrived := e.Await()
	if kept, ok := e.request.Retain(); !ok || !kept.Fetch(a.Upstream, a.Failed, arrived) {
		arrived(nil)
	}
}

// want notes where the prompt is to be staged, and does it if its tokens are
// there. It reports whether that is under way, for this request or another one:
// then its tokens are not needed for it.
func (e *task) want(address string, as uint64, until time.Time) (under bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if st := e.stager.service.Current(address, as); st != nil {
		e.staging, e.at, e.to = st, address, ""
		return true
	}
	e.to, e.as, e.until = address, as, until
	e.begin()
	return e.to == ""
}

// begin stages if all is there that is needed. The caller holds mu.
func (e *task) begin() {
	if e.tokens == nil || e.to == "" {
		return
	}
	p := e.prefix(e.tokens, e.as)
	p.Deadline = e.until
	e.staging, e.at = e.stager.order(e.to, p, e.tokens), e.to
	e.to = ""
}

// order gives LMCache an order.
func (s *stager) order(address string, p lmcache.Prefix, tokens *keptTokens) *lmcache.Staging {
	return s.service.Stage(address, p, tokens.take())
}

func (e *task) prefix(tokens *keptTokens, key uint64) lmcache.Prefix {
	return lmcache.Prefix{Model: e.prompt.Model, Salt: e.prompt.Salt, Tokens: tokens.ids, Key: key}
}

// lacks reports whether the tokens are neither there nor on their way from an
// engine that has not failed.
func (e *task) lacks(attempt int) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.tokens == nil && (e.arrival == nil || attempt > 0)
}

// Await implements Task.
func (e *task) Await() (arrived func(ids []uint32)) {
	done, since := make(chan struct{}), time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.arrival = done
	return func(ids []uint32) {
		e.mu.Lock()
		defer e.mu.Unlock()
		defer close(done)
		if e.ask {
			e.askWith(e.stager.shelf.keep(ids))
		}
		if e.tokens != nil || e.over {
			return
		}
		if e.tokens = e.stager.shelf.keep(ids); e.tokens != nil {
			e.stager.learnLead(time.Since(since))
		}
		e.begin()
	}
}

// hold waits until the staging has ended, but not longer than d in all, nor
// than the client does.
func (e *task) hold(ctx context.Context, d time.Duration) {
	start := time.Now()
	e.mu.Lock()
	arrival := e.arrival
	e.mu.Unlock()
	if arrival != nil {
		waiting, cancel := context.WithTimeout(ctx, d)
		defer cancel()
		select {
		case <-arrival:
		case <-waiting.Done():
		}
	}
	e.mu.Lock()
	st := e.staging
	e.mu.Unlock()
	if st != nil {
		st.Wait(ctx, d-time.Since(start))
	}
	took := time.Since(start)
	e.held += took
	e.stager.totals.held(took)
}

// Accepted implements Task.
func (e *task) Accepted() {
	if !e.prompt.Tools {
		return
	}
	e.mu.Lock()
	there := e.tokens != nil
	e.mu.Unlock()
	if !there {
		e.kept, _ = e.request.Retain()
	}
	if e.stager.warmer != nil {
		e.warm, _ = e.request.Retain()
	}
}

// Reported implements Task.
func (e *task) Reported(address string, cached int) {
	if e.before != nil {
		e.before.used(address, cached)
	}
	e.mu.Lock()
	st, at := e.staging, e.at
	e.mu.Unlock()
	if at == address {
		useOf(st, cached)
	}
}

// Unreported implements Task.
func (e *task) Unreported(address string) { e.Reported(address, int(^uint(0)>>2)) }

// ExpectNext implements Task.
func (e *task) ExpectNext(address string) {
	s := e.stager
	t := s.turns.expect(e.prompt.whole(), address)
	e.mu.Lock()
	tokens := e.tokens
	if tokens != nil {
		t.staged(s.order(address, e.prefix(tokens, e.prompt.next()), tokens))
	}
	e.mu.Unlock()
	if tokens == nil && e.kept != nil {
		e.stageLater(t, e.kept)
		e.kept = nil
	}
	if e.warm != nil {
		s.warmer.later(t, s.turns.usualGap()*3/4, func() bool { return lost(e.routed, address) }, e.warm)
		e.warm = nil
	}
}

// stageLater stages for a turn with tokens that are still to be fetched.
func (e *task) stageLater(t *turn, kept Retained) {
	kept.Fetch(t.address, e.attempt, func(ids []uint32) {
		tokens := e.stager.shelf.keep(ids)
		if tokens == nil {
			return
		}
		t.staged(e.stager.order(t.address, e.prefix(tokens, e.prompt.next()), tokens))
		tokens.release()
	})
}

// lost reports whether an upstream is predicted to hold less of a request's
// prompt on its GPU than it was sent.
func lost(request *routing.Request, address string) bool {
	forecasts, _ := request.Explain([]routing.Candidate{{Address: address}})
	return len(forecasts) == 1 && request.Tokens()-forecasts[0].Cached >= leastStaged
}

// End implements Task.
func (e *task) End(accepted bool) {
	for _, kept := range []Retained{e.kept, e.warm} {
		if kept != nil {
			kept.Release()
		}
	}
	e.kept, e.warm, e.request = nil, nil, nil
	e.mu.Lock()
	defer e.mu.Unlock()
	e.over, e.to = true, ""
	looks := accepted && e.stager.looks && len(e.upstreams) > 0
	switch {
	case e.tokens == nil:
		e.ask = looks // they may be on their way
	case looks:
		e.askWith(e.tokens)
	default:
		e.tokens.release()
	}
}

// askWith asks who holds the prompt and lets go of its tokens. The caller holds
// mu.
func (e *task) askWith(tokens *keptTokens) {
	e.ask = false
	if tokens != nil {
		e.stager.service.StartLookup(e.prefix(tokens, e.prompt.whole()), e.upstreams, tokens.release)
	}
}
