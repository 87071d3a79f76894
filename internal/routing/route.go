// SPDX-License-Identifier: Apache-2.0

package routing

import "time"

// Candidate is an upstream that can take a request now.
type Candidate struct {
	Address  string
	Requests int      // in flight there by the caller's count, which may know of more
	Offload  *Offload // the part of the prompt kept outside its GPU; nil: not known

	// OffloadChunk is the number of tokens that the cache outside its GPU keeps as one;
	// 0: not known.
	OffloadChunk int
	// Identity is the prompt's identity there, where it is not the prompt's own:
	// the name of the model stands for another lineage there. nil: it is.
	Identity *Identity

	// Penalty is the expected cost of failed and overdue answers there. It is
	// added to the score, not to the predicted wait. Below 0 it counts as 0.
	Penalty time.Duration
	// Overdue is the part of Penalty that is waiting behind overdue answers.
	Overdue time.Duration
}

// Reason says why a request went where it went.
type Reason string

const (
	Hit      Reason = "hit"      // no candidate holds more of the prompt
	Load     Reason = "load"     // another holds more, but would answer later
	Cold     Reason = "cold"     // no candidate holds any of it
	Fallback Reason = "fallback" // another policy decided
	Overload Reason = "overload" // none: it would wait too long, see Shedder
)

// Decision is the pick for a request, and the reason for it.
type Decision struct {
	Pick   int // index into the candidates, -1: none
	Cached int // prompt tokens predicted to be cached there
	Reason Reason

	// External is the part of Cached that the engine is predicted to load from outside
	// its GPU.
	External int

	RetryAfter time.Duration // of a refused request: until it is predicted to be let in
}

// Route picks the candidate that is predicted to give the first token soonest,
// reserves its place there and records that the upstream will hold the prompt.
// With leaveCold, a prompt of which no candidate holds any block is left to
// another policy, see Assign: the decision then picks none. It also picks none
// when LimitWait has set a limit and the wait is longer everywhere.
func (r *Request) Route(candidates []Candidate, leaveCold bool) Decision {
	rt := r.router
	rt.mu.Lock()
	defer rt.mu.Unlock()
	longest := r.evaluate(candidates)
	r.noteAsking()
	if d, refused := r.refused(); refused {
		return d
	}
	if len(candidates) == 0 || longest == 0 && leaveCold && !anyOffload(candidates) {
		return Decision{Pick: -1, Reason: Fallback}
	}
	d := r.decide(longest, true)
	r.predict(d.Pick, candidates[d.Pick].Offload)
	r.startAttempt(rt.scratch.upstreams[d.Pick], rt.scratch.prefixMatches[d.Pick])
	return d
}

// Assign reserves and records a pick that another policy made.
func (r *Request) Assign(c Candidate) Decision {
	rt := r.router
	rt.mu.Lock()
	defer rt.mu.Unlock()
	r.evaluate([]Candidate{c})
	d := Decision{Cached: rt.scratch.prefixMatches[0].tokens, Reason: Fallback}
	d.External = r.external(rt.scratch.upstreams[0], rt.scratch.prefixMatches[0])
	r.predict(0, c.Offload)
	r.startAttempt(rt.scratch.upstreams[0], rt.scratch.prefixMatches[0])
	return d
}

// decide picks one of the evaluated candidates, of which one holds longest
// tokens of the prompt. It pays rent (see spread) when the request is really
// sent. The caller holds mu.
func (r *Request) decide(longest int, pay bool) Decision {
	s := &r.router.scratch
	pick, others := choose(s.scored)
	if instead, buyCost := spread(s.scored, pick, others); instead != pick {
		c, u := &s.scored[pick], s.upstreams[pick]
		rentPaid := u.rentPaid + prefill(c.Uncached, c.PerToken)
		if rentPaid >= buyCost {
			pick, rentPaid = instead, 0
		}
		if pay {
			u.rentPaid = rentPaid
		}
	}
	d := Decision{Pick: pick, Cached: s.prefixMatches[pick].tokens, Reason: Hit}
	d.External = r.external(s.upstreams[pick], s.prefixMatches[pick])
	switch {
	case longest == 0:
		d.Reason = Cold
	case d.Cached < longest:
		d.Reason = Load
	}
	return d
}
