// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"time"

	"github.com/bauxite/caddy-kvaware/radixcache"
)

// scratch holds what one decision needs, so that deciding does not allocate.
// upstreams, prefixMatches and scored have one entry a candidate.
type scratch struct {
	treeMatches   []radixcache.Match
	upstreams     []*upstream
	prefixMatches []prefixMatch
	scored        []scoredCandidate
	tokenMatches  []tokenMatch // one for each block size of the engines

	longestOn     *upstream // of all upstreams, the one that was sent most of the prompt; nil: none
	longestBlocks int32     // how many blocks that is
}

// evaluate fills the scratch with what is predicted for each candidate, and
// returns the most prompt tokens that any of them holds. The caller holds mu.
func (r *Request) evaluate(candidates []Candidate) (longest int) {
	rt := r.router
	s := &rt.scratch
	now := rt.now()
	s.scored, s.prefixMatches = s.scored[:0], s.prefixMatches[:0]
	others := r.beginEvaluation(candidates)
	r.matchTree(candidates, others)
	r.matchTokens(s.upstreams)
	k := rt.averages()
	for i, c := range candidates {
		u := s.upstreams[i]
		m := r.predictMatch(u, now)
		if !r.noCache {
			r.addOffload(&m, c, u)
		}
		longest = max(longest, m.tokens)
		s.prefixMatches = append(s.prefixMatches, m)
		share, rate := u.demand.lately(now)
		s.scored = append(s.scored, scoredCandidate{
			PerToken:  u.perToken(&k),
			Uncached:  r.promptTokens - m.weighted,
			Unsent:    r.promptTokens - r.kept(u, m),
			Demand:    share,
			Rate:      rate,
			Queued:    u.queue.queued,
			InFlight:  max(u.queue.requests, c.Requests),
			Footprint: u.footprint,
			Penalty:   max(0, c.Penalty),
			Overdue:   c.Overdue,
			Backlog:   u.backlog.wait(now, prefill(rt.typicalCost.meanPrompt(), k.perToken)),
		})
		rt.addWait(&s.scored[i], u, now, k.lateShare)
	}
	addDecodeDelays(s.scored, rt.batchCost.perRequest(k.perToken))
	return longest
}

// findUpstreams fills in the upstreams of the candidates. Most decisions are
// between the same ones as the one before, which saves looking them up.
func (s *scratch) findUpstreams(rt *Router, candidates []Candidate) {
	last := s.upstreams
	s.upstreams = s.upstreams[:0]
	for i, c := range candidates {
		if i < len(last) && last[i].address == c.Address && !last[i].removed {
			s.upstreams = append(s.upstreams, last[i])
		} else {
			s.upstreams = append(s.upstreams, rt.upstream(c.Address))
		}
	}
}

// addWait fills in the wait at c, which is u, including the requests that other
// gateways and clients have sent there.
func (rt *Router) addWait(c *scoredCandidate, u *upstream, now time.Time, lateShare float64) {
	c.Wait = u.queue.wait(now, lateShare)
	waiting, inFlight := u.foreignRequests(now)
	if inFlight > 0 {
		c.Wait += prefill(waiting*rt.typicalCost.meanPrompt(), c.PerToken)
		c.Queued += waiting
		c.InFlight = max(c.InFlight, inFlight)
	}
	// The requests ahead need room too, and are computed while this one waits.
	room := u.cacheUsage.waitForRoom(c.Uncached, u.foreignTokens(now), u.capacity.size(), rt.blockLifetime.mean())
	c.Wait, c.Full = max(c.Wait, room), room > 0
	if u.queue.unstreamed > 0 {
		c.Wait = max(c.Wait, c.Backlog) // nothing else shows when their prefill ends
	}
}

// kept returns the prompt's tokens that u would not compute if it still had all it was
// sent.
func (r *Request) kept(u *upstream, m prefixMatch) int {
	if r.noCache {
		return 0
	}
	return max(m.weighted, r.tokensIn(u.sentBlocks))
}
