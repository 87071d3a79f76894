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
	matches    []radixcache.Match
	candidates []scoredCandidate
	upstreams  []*upstream
	held       []hit    // by each of them
	linked     []linked // by the size of engines' blocks
}

// Route picks the target that is predicted to give the first token soonest,
// reserves its place there and records that the upstream will hold the prompt.
// With leaveCold a prompt of which nobody holds anything is not routed but
// left to another policy, see Assign: the decision has no target then.
func (r *Request) Route(targets []Candidate, leaveCold bool) Decision {
	f := r.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	longest := r.survey(targets)
	if len(targets) == 0 || longest == 0 && leaveCold && !anyOffload(targets) {
		return Decision{Pick: -1, Reason: Fallback}
	}
	d := r.decide(longest, true)
	r.look(d.Pick, targets[d.Pick].Offload)
	r.depart(f.scratch.upstreams[d.Pick], f.scratch.held[d.Pick])
	return d
}

// decide picks one of the surveyed targets, of which one holds longest tokens
// of the prompt. It pays rent when the request is really sent. The caller holds
// mu.
func (r *Request) decide(longest int, pay bool) Decision {
	s := &r.fleet.scratch
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
	d := Decision{Pick: pick, Cached: s.held[pick].tokens, Reason: Hit}
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
	f := r.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	r.survey([]Candidate{t})
	d := Decision{Cached: f.scratch.held[0].tokens, Reason: Fallback}
	r.look(0, t.Offload)
	r.depart(f.scratch.upstreams[0], f.scratch.held[0])
	return d
}

// survey fills the scratch with one candidate a target and returns the most
// prompt tokens that any of them holds. The caller holds mu.
func (r *Request) survey(targets []Candidate) (longest int) {
	f := r.fleet
	s := &f.scratch
	now := f.now()
	s.candidates, s.matches, s.held = s.candidates[:0], s.matches[:0], s.held[:0]
	if r.current() {
		s.matches = f.tree.Lookup(r.chain, s.matches)
	}
	f.note(s.matches)
	r.most = r.longest(s.matches)
	s.find(f, targets)
	for _, u := range s.upstreams {
		u.seen = now
		u.survey(f.surveyed)
	}
	r.consult(s.upstreams)
	k := f.known()
	for i, t := range targets {
		u := s.upstreams[i]
		held := r.heldBy(u, now)
		longest = max(longest, held.tokens)
		if r.offloads != nil {
			held.worth = max(held.worth, min(held.worth+r.offloaded(t, u, held.tokens), r.prompt-1))
		}
		s.held = append(s.held, held)
		share, rate := u.demand.of(now)
		s.candidates = append(s.candidates, scoredCandidate{
			PerToken:  u.perToken(&k),
			Uncached:  r.prompt - held.worth,
			Unsent:    r.prompt - max(held.worth, r.tokens(u.known)),
			Demand:    share,
			Rate:      rate,
			Queued:    u.load.queued,
			InFlight:  max(u.load.count(), t.Requests),
			Footprint: u.footprint,
		})
		f.wait(&s.candidates[len(s.candidates)-1], u, now, k.late)
	}
	return longest
}

// find fills in the upstreams of the targets. Most decisions are between the
// same ones as the one before, which saves looking them up.
func (s *scratch) find(f *Router, targets []Candidate) {
	last := s.upstreams
	s.upstreams = s.upstreams[:0]
	for i, t := range targets {
		if i < len(last) && last[i].address == t.Address && !last[i].gone {
			s.upstreams = append(s.upstreams, last[i])
		} else {
			s.upstreams = append(s.upstreams, f.upstream(t.Address))
		}
	}
}

// wait fills in how long c, which is u, makes a request wait, with what others
// have sent there.
func (f *Router) wait(c *scoredCandidate, u *upstream, now time.Time, late float64) {
	c.Wait = u.load.wait(now, late)
	waiting, inFlight := u.foreign(now)
	if inFlight > 0 {
		c.Wait += prefill(waiting*f.typical.prompt(), c.PerToken)
		c.Queued += waiting
		c.InFlight = max(c.InFlight, inFlight)
	}
	// Those before it need room before it does, and are computed meanwhile.
	room := u.blocks.wait(c.Uncached, u.foreignTokens(now), u.capacity.size(), f.holding.mean())
	c.Wait = max(c.Wait, room)
}

// cachedOn returns how many tokens of the prompt u holds by what was sent there.
func (r *Request) cachedOn(u *upstream) int {
	cached := r.tokens(u.matched)
	if r.cut && int(u.matched) == len(r.chain) {
		cached = max(cached, min(r.fleet.cuts.tokens(u.id, r.chain), r.prompt-1))
	}
	return cached
}

// note begins a survey and writes down at each upstream what the tree knows
// of it.
func (f *Router) note(matches []radixcache.Match) {
	f.surveyed++
	for _, m := range matches {
		u := f.byID.find(m.Upstream)
		if u == nil {
			continue
		}
		u.survey(f.surveyed)
		if m.Upstream == u.id {
			u.matched = m.Blocks
		} else {
			u.known = m.Blocks
		}
	}
}

// survey drops what an earlier survey has written down.
func (u *upstream) survey(number uint64) {
	if u.surveyed != number {
		u.surveyed, u.matched, u.known = number, 0, 0
	}
}

// tokens converts matched blocks to prompt tokens. The last token of a prompt
// is always computed: its output is the first token of the answer.
func (r *Request) tokens(blocks int32) int {
	return min(int(blocks)*r.perBlock, r.prompt-1)
}
