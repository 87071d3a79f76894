// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"bytes"
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/bauxite/caddy-kvaware/internal/lmcache"
	"github.com/bauxite/caddy-kvaware/internal/routing"
	"github.com/bauxite/caddy-kvaware/janitor"
)

// errand is what is done for one request to have its KV blocks staged. Its
// tokens are kept until the request ends, and wiped then or when LMCache has
// been sent them, whichever is later.
type errand struct {
	stager *stager
	prompt text
	model  string
	tools  bool // the answer may ask for tools to be run

	// Of the goroutine that serves the request.
	before    *turn             // that this is the next one of
	upstreams []string          // that could have been picked
	offloads  []routing.Offload // what LMCache is known to hold there
	known     bool              // LMCache has said so
	kept      *janitor.Retained // to fetch the tokens of after the answer; nil: not needed
	warm      *janitor.Retained // to warm the GPU with; nil: it is not
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

// newErrand returns the errand of a request, nil when nothing is staged.
func (p *Policy) newErrand(x *janitor.Exchange, prompt text) *errand {
	s := p.stager
	if s == nil {
		return nil
	}
	e := &errand{stager: s, prompt: prompt, model: x.Model()}
	e.tools = bytes.Contains(x.Body(), []byte(`"tools"`)) || bytes.Contains(x.Body(), []byte(`"functions"`))
	e.before = s.turns.arrived(func(yield func(uint64) bool) {
		for _, end := range prompt.signature.Ends() {
			if !yield(e.key(end.Hash)) {
				return
			}
		}
	})
	return e
}

// key names the prompt up to an end.
func (e *errand) key(end uint64) uint64 {
	return prefixKey(end, e.prompt.signature.Variant(), e.prompt.salt)
}

// whole names all of the prompt.
func (e *errand) whole() uint64 { return prefixKey(e.prompt.name(), 0, e.prompt.salt) }

// beginning names what a prompt shares with others that have the same first
// blocks: a document before other questions, or a conversation's next turn.
func (e *errand) beginning(blocks int) uint64 {
	chain := e.prompt.signature.Chain()
	if blocks < 1 || blocks > len(chain) {
		return e.whole()
	}
	return e.key(chain[blocks-1])
}

// stored names what there can be of a prompt to be staged: what some upstream
// was sent before, or all of it if LMCache has more.
func (e *errand) stored(o routing.Prediction) uint64 {
	if o.Offload.Storage > o.Longest {
		return e.whole()
	}
	return e.beginning(o.LongestBlocks)
}

// consult notes at the targets what LMCache is known to hold beside them.
func (e *errand) consult(targets []routing.Candidate) {
	if e == nil || !e.stager.looks {
		return
	}
	e.upstreams = e.upstreams[:0]
	for i := range targets {
		e.upstreams = append(e.upstreams, targets[i].Address)
	}
	e.offloads, e.known = e.stager.consult(&e.prompt, targets, e.offloads)
}

// stage has the prompt's blocks staged where the request goes, if that helps,
// and holds the request for it as long as it is worth it and allowed to. pool is
// who could be picked if all were well.
func (p *Policy) stage(r *http.Request, x *janitor.Exchange, fl *flight, pool reverseproxy.UpstreamPool) {
	e := fl.errand
	if e == nil {
		return
	}
	s, attempt := e.stager, len(fl.tried)
	m := moment{lead: time.Duration(s.lead.Load()), limit: time.Duration(s.options.Wait) - e.held}
	o := fl.Prediction()
	m.failover = attempt > 0 || o.Longest-o.LongestCandidate >= leastStaged && has(pool, o.LongestAt, r)
	m.missing, m.own = missing(o)
	m.wait, m.perToken = o.Wait, o.PerToken
	m.expected = s.service.Expected(fl.address, m.missing)
	wanted, hold := m.decide()
	if n, _ := s.service.Node(fl.address); n.Resting {
		hold = 0 // it will not be asked
	}
	under := wanted && e.want(fl.address, e.stored(o), m.until(time.Now(), hold))
	if (wanted && !under || s.looks && !e.known) && e.lacks(attempt) {
		fl.asked = true
		e.prompt.attempt = uint64(attempt)
		arrived := e.await()
		if !s.prompts.fetch(x, e.prompt, fl.address, arrived) {
			arrived(nil)
		}
	}
	if wanted && hold > 0 {
		e.hold(r.Context(), hold)
	}
}

// has reports whether an address is that of an upstream in a pool.
func has(pool reverseproxy.UpstreamPool, at string, r *http.Request) bool {
	return slices.ContainsFunc(pool, func(u *reverseproxy.Upstream) bool { return address(u, r) == at })
}

// want notes where the prompt is to be staged, and does it if its tokens are
// there. It reports whether that is under way, for this request or another one:
// then its tokens are not needed for it.
func (e *errand) want(address string, as uint64, until time.Time) (under bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if st := e.stager.service.Standing(address, as); st != nil {
		e.staging, e.at, e.to = st, address, ""
		return true
	}
	e.to, e.as, e.until = address, as, until
	e.begin()
	return e.to == ""
}

// begin stages if all is there that is needed. The caller holds mu.
func (e *errand) begin() {
	if e.tokens == nil || e.to == "" {
		return
	}
	p := e.prefix(e.tokens, e.as)
	p.Until = e.until
	e.staging, e.at = e.stager.order(e.to, p, e.tokens), e.to
	e.to = ""
}

// order gives LMCache an order.
func (s *stager) order(address string, p lmcache.Prefix, tokens *keptTokens) *lmcache.Staging {
	return s.service.Stage(address, p, tokens.take())
}

func (e *errand) prefix(tokens *keptTokens, key uint64) lmcache.Prefix {
	return lmcache.Prefix{Model: e.model, Salt: e.prompt.salt, Tokens: tokens.ids, Key: key}
}

// next names what the next turn shares with this one.
func (e *errand) next() uint64 { return e.beginning(len(e.prompt.signature.Chain())) }

// lacks reports whether the tokens are neither there nor on their way from an
// engine that has not failed.
func (e *errand) lacks(attempt int) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.tokens == nil && (e.arrival == nil || attempt > 0)
}

// await begins to wait for tokens. What it returns is to be called with them,
// once, or with nil.
func (e *errand) await() (arrived func(ids []uint32)) {
	if e == nil {
		return func([]uint32) {}
	}
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
func (e *errand) hold(ctx context.Context, d time.Duration) {
	start := time.Now()
	e.mu.Lock()
	arrival := e.arrival
	e.mu.Unlock()
	if arrival != nil {
		wait(ctx, arrival, d)
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

// accepted is called when the engine has accepted the request: for the last
// time something of it can be kept.
func (e *errand) accepted(x *janitor.Exchange) {
	if e == nil || !e.tools {
		return
	}
	e.mu.Lock()
	there := e.tokens != nil
	e.mu.Unlock()
	if !there {
		e.kept, _ = x.Retain()
	}
	if e.stager.warmer != nil {
		e.warm, _ = x.Retain()
	}
}

// reported is called with how many tokens of the prompt were cached.
func (e *errand) reported(address string, cached int) {
	if e == nil {
		return
	}
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

// unreported is called when the engine has not told how many were: then a
// staging is not said to be in vain.
func (e *errand) unreported(address string) { e.reported(address, int(^uint(0)>>2)) }

// predict stages for the next turn, which is expected at the same upstream, and
// has the GPU warmed shortly before.
func (e *errand) predict(address string, request *routing.Request) {
	if e == nil {
		return
	}
	s := e.stager
	t := s.turns.expect(e.whole(), address)
	e.mu.Lock()
	tokens := e.tokens
	if tokens != nil {
		t.staged(s.order(address, e.prefix(tokens, e.next()), tokens))
	}
	e.mu.Unlock()
	if tokens == nil && e.kept != nil {
		e.stageLater(t, e.kept)
		e.kept = nil
	}
	if e.warm != nil {
		s.warmer.later(t, s.turns.usualGap()*3/4, func() bool { return lost(request, address) }, e.warm)
		e.warm = nil
	}
}

// stageLater stages for a turn with tokens that are still to be fetched.
func (e *errand) stageLater(t *turn, kept *janitor.Retained) {
	e.stager.prompts.fetchOf(kept, e.prompt, t.address, func(ids []uint32) {
		tokens := e.stager.shelf.keep(ids)
		if tokens == nil {
			return
		}
		t.staged(e.stager.order(t.address, e.prefix(tokens, e.next()), tokens))
		tokens.release()
	})
}

// lost reports whether an upstream is predicted to hold less of a request's
// prompt on its GPU than it was sent.
func lost(request *routing.Request, address string) bool {
	forecasts, _ := request.Explain([]routing.Candidate{{Address: address}})
	return len(forecasts) == 1 && request.Tokens()-forecasts[0].Cached >= leastStaged
}

// end is called when the request is over. What LMCache holds of its prompt by
// now is asked for the next turn.
func (e *errand) end(accepted bool) {
	if e == nil {
		return
	}
	for _, kept := range []*janitor.Retained{e.kept, e.warm} {
		if kept != nil {
			kept.Release()
		}
	}
	e.kept, e.warm = nil, nil
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
func (e *errand) askWith(tokens *keptTokens) {
	e.ask = false
	if tokens != nil {
		e.stager.service.Ask(e.prefix(tokens, e.whole()), e.upstreams, tokens.release)
	}
}
