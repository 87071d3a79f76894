// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"time"

	"github.com/bauxite/caddy-kvaware/radixcache"
)

// Target is an upstream that could take a request now.
type Candidate struct {
	Address  string
	Requests int      // in flight there by another count, which may know of more
	Offload  *Offload // what is kept of the prompt outside its GPU; nil: not known
}

// Reason says why a request went where it went.
type Reason string

const (
	Hit      Reason = "hit"      // nobody holds more of the prompt
	Load     Reason = "load"     // another holds more, but would answer later
	Cold     Reason = "cold"     // nobody holds any of it
	Fallback Reason = "fallback" // another policy decided
)

// Decision is where a request goes, and why.
type Decision struct {
	Pick   int // index into the targets, -1: none
	Cached int // prompt tokens predicted to be cached there
	Reason Reason
}

// scratch holds what one decision needs, so that deciding does not allocate.
type scratch struct {
	treeMatches   []radixcache.Match
	candidates    []scoredCandidate
	upstreams     []*upstream
	prefixMatches []prefixMatch // by each of them
	tokenMatches  []tokenMatch  // by the size of engines' blocks
}

// Route picks the target that is predicted to give the first token soonest,
// reserves its place there and records that the upstream will hold the prompt.
// With leaveCold a prompt of which nobody holds anything is not routed but
// left to another policy, see Assign: the decision has no target then.
func (r *Request) Route(targets []Candidate, leaveCold bool) Decision {
	rt := r.router
	rt.mu.Lock()
	defer rt.mu.Unlock()
	longest := r.evaluate(targets)
	if len(targets) == 0 || longest == 0 && leaveCold && !anyOffload(targets) {
		return Decision{Pick: -1, Reason: Fallback}
	}
	d := r.decide(longest, true)
	r.predict(d.Pick, targets[d.Pick].Offload)
	r.startAttempt(rt.scratch.upstreams[d.Pick], rt.scratch.prefixMatches[d.Pick])
	return d
}

// decide picks one of the surveyed targets, of which one holds longest tokens
// of the prompt. It pays rent when the request is really sent. The caller holds
// mu.
func (r *Request) decide(longest int, pay bool) Decision {
	s := &r.router.scratch
	pick, others := choose(s.candidates)
	if instead, price := spread(s.candidates, pick, others); instead != pick {
		c, u := &s.candidates[pick], s.upstreams[pick]
		rent := u.rentPaid + prefill(c.Uncached, c.PerToken)
		if rent >= price {
			pick, rent = instead, 0
		}
		if pay {
			u.rentPaid = rent
		}
	}
	d := Decision{Pick: pick, Cached: s.prefixMatches[pick].tokens, Reason: Hit}
	switch {
	case longest == 0:
		d.Reason = Cold
	case d.Cached < longest:
		d.Reason = Load
	}
	return d
}

// Assign reserves and records a pick that another policy made.
func (r *Request) Assign(t Candidate) Decision {
	rt := r.router
	rt.mu.Lock()
	defer rt.mu.Unlock()
	r.evaluate([]Candidate{t})
	d := Decision{Cached: rt.scratch.prefixMatches[0].tokens, Reason: Fallback}
	r.predict(0, t.Offload)
	r.startAttempt(rt.scratch.upstreams[0], rt.scratch.prefixMatches[0])
	return d
}

// survey fills the scratch with one candidate a target and returns the most
// prompt tokens that any of them holds. The caller holds mu.
func (r *Request) evaluate(targets []Candidate) (longest int) {
	rt := r.router
	s := &rt.scratch
	now := rt.now()
	s.candidates, s.treeMatches, s.prefixMatches = s.candidates[:0], s.treeMatches[:0], s.prefixMatches[:0]
	if r.isCurrent() {
		s.treeMatches = rt.tree.Lookup(r.chain, s.treeMatches)
	}
	rt.recordMatches(s.treeMatches)
	r.longestBlocks = r.findLongest(s.treeMatches)
	s.findUpstreams(rt, targets)
	for _, u := range s.upstreams {
		u.lastAvailable = now
		u.reset(rt.evaluation)
	}
	r.matchTokens(s.upstreams)
	k := rt.averages()
	for i, t := range targets {
		u := s.upstreams[i]
		held := r.predictMatch(u, now)
		longest = max(longest, held.tokens)
		if r.offloadWeights != nil {
			held.weighted = max(held.weighted, min(held.weighted+r.offloadWorth(t, u, held.tokens), r.promptTokens-1))
		}
		s.prefixMatches = append(s.prefixMatches, held)
		share, rate := u.demand.lately(now)
		s.candidates = append(s.candidates, scoredCandidate{
			PerToken:  u.perToken(&k),
			Uncached:  r.promptTokens - held.weighted,
			Unsent:    r.promptTokens - max(held.weighted, r.tokensIn(u.sentBlocks)),
			Demand:    share,
			Rate:      rate,
			Queued:    u.queue.queued,
			InFlight:  max(u.queue.count(), t.Requests),
			Footprint: u.footprint,
		})
		rt.addWait(&s.candidates[len(s.candidates)-1], u, now, k.lateShare)
	}
	return longest
}

// find fills in the upstreams of the targets. Most decisions are between the
// same ones as the one before, which saves looking them up.
func (s *scratch) findUpstreams(rt *Router, targets []Candidate) {
	last := s.upstreams
	s.upstreams = s.upstreams[:0]
	for i, t := range targets {
		if i < len(last) && last[i].address == t.Address && !last[i].removed {
			s.upstreams = append(s.upstreams, last[i])
		} else {
			s.upstreams = append(s.upstreams, rt.upstream(t.Address))
		}
	}
}

// wait fills in how long c, which is u, makes a request wait, with what others
// have sent there.
func (rt *Router) addWait(c *scoredCandidate, u *upstream, now time.Time, late float64) {
	c.Wait = u.queue.wait(now, late)
	waiting, inFlight := u.foreignRequests(now)
	if inFlight > 0 {
		c.Wait += prefill(waiting*rt.typicalCost.meanPrompt(), c.PerToken)
		c.Queued += waiting
		c.InFlight = max(c.InFlight, inFlight)
	}
	// Those before it need room before it does, and are computed meanwhile.
	room := u.cacheUsage.waitForRoom(c.Uncached, u.foreignTokens(now), u.capacity.size(), rt.blockLifetime.mean())
	c.Wait = max(c.Wait, room)
}

// cachedOn returns how many tokens of the prompt u holds by what was sent there.
func (r *Request) matchBySent(u *upstream) int {
	cached := r.tokensIn(u.heldBlocks)
	if r.truncated && int(u.heldBlocks) == len(r.chain) {
		cached = max(cached, min(r.router.truncated.tokens(u.id, r.chain), r.promptTokens-1))
	}
	return cached
}

// note begins a survey and writes down at each upstream what the tree knows
// of it.
func (rt *Router) recordMatches(matches []radixcache.Match) {
	rt.evaluation++
	for _, m := range matches {
		u := rt.byID.find(m.Upstream)
		if u == nil {
			continue
		}
		u.reset(rt.evaluation)
		if m.Upstream == u.id {
			u.heldBlocks = m.Blocks
		} else {
			u.sentBlocks = m.Blocks
		}
	}
}

// survey drops what an earlier survey has written down.
func (u *upstream) reset(number uint64) {
	if u.evaluation != number {
		u.evaluation, u.heldBlocks, u.sentBlocks = number, 0, 0
	}
}

// tokens converts matched blocks to prompt tokens. The last token of a prompt
// is always computed: its output is the first token of the answer.
func (r *Request) tokensIn(blocks int32) int {
	return min(int(blocks)*r.blockTokens, r.promptTokens-1)
}
