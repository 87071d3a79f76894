// SPDX-License-Identifier: Apache-2.0

package routing

import "time"

const (
	// imbalance is the factor by which one upstream must have been given more to
	// compute than another would have with a copy, for the two to be out of balance.
	imbalance = 2

	// rentFactor is the multiple of a copy's cost that must have been computed before
	// one is made: copies take at most that share of all prefill.
	rentFactor = 2

	// muchSlower is the factor in cost beyond which an upstream gets no copies: more
	// than a generation of GPUs makes (A100 and H100: 3.2, see alike).
	muchSlower = 4
)

// spread returns the candidate to take instead of pick, and the buy cost: the
// prefill that must have been computed on pick before. Or it returns pick itself.
//
// While there is little to do, a prefix that all requests share would draw
// everything to the upstream that has it: it always answers a little sooner.
// But then one cache has to hold what could be in many, and one engine does all
// the decoding. So when one upstream gets much more to compute than another,
// every so often a request goes to that other one although it costs more there,
// and takes a copy of the prefix with it. The ski rental problem says
// how often: not before the rent paid is a multiple of the buy cost. A long
// prefix of a single conversation hence stays where there are shorter ones to
// move. No copy is made where failures are expected, nor on an engine that is much
// slower: that one was given less because it is slow.
func spread(candidates []scoredCandidate, pick int, others contention) (instead int, buyCost time.Duration) {
	emptiest := pick
	for i := range candidates {
		if candidates[i].Footprint < candidates[emptiest].Footprint && candidates[i].mayTakeCopyOf(&candidates[pick]) {
			emptiest = i
		}
	}
	p, e := &candidates[pick], &candidates[emptiest]
	if p.Footprint <= imbalance*(e.Footprint+int64(e.Uncached)) || e.InFlight > p.InFlight {
		return pick, 0
	}
	return emptiest, rentFactor * max(0, e.computeScore(others)-p.computeScore(others))
}

// mayTakeCopyOf reports whether a copy of what p holds is worth having at c.
func (c *scoredCandidate) mayTakeCopyOf(p *scoredCandidate) bool {
	return c.Penalty-p.Penalty < indifference && c.PerToken <= muchSlower*p.PerToken
}
