// SPDX-License-Identifier: Apache-2.0

package routing

import "time"

const (
	// DefaultBytesPerToken is the number of bytes of prompt text in a token until more
	// is known: the usual figure for English and byte-pair vocabularies.
	DefaultBytesPerToken = 4

	// indifference is the difference in predicted time to first token below
	// which two upstreams count as equal: below the noise of a network and of
	// an engine's scheduling step.
	indifference = time.Millisecond
)

// scoredCandidate is a candidate with all that its score is made of.
type scoredCandidate struct {
	Wait      time.Duration // until its prefill can begin, see Router.addWait
	PerToken  time.Duration // cost of a prompt token there
	Uncached  int           // prompt tokens it would have to compute
	Unsent    int           // the same if it still held all it was ever sent
	Backlog   time.Duration // wait that its engine's reports show, see backlog
	Queued    int           // prompts there whose prefill is not done
	Demand    float64       // share of its time that its prefill takes, see demand
	Rate      float64       // requests sent there per nanosecond, see demand
	InFlight  int           // requests it is prefilling or decoding
	Footprint int64         // uncached tokens sent there so far: how full its cache is
	Penalty   time.Duration // expected cost of failures there, see Candidate
	Overdue   time.Duration // the part of Penalty that is a wait

	Full        bool          // the KV cache there has no room for the prompt yet
	DecodeDelay time.Duration // of its answer by the requests there, see addDecodeDelays

	score time.Duration // set by choose
}

// choose returns the index of the candidate with the smallest score, or -1 when
// there is none. Among those that are equal within indifference it picks the one
// with the lowest penalty, then the one with the fewest requests in flight, then
// the one that was given the least to compute, whose cache has most room. It also
// returns the contention that the scores account for.
func choose(candidates []scoredCandidate) (pick int, others contention) {
	others = contentionOf(candidates)
	pick = -1
	for i := range candidates {
		c := &candidates[i]
		c.score = c.computeScore(others)
		if pick < 0 || c.score < candidates[pick].score {
			pick = i
		}
	}
	if pick < 0 {
		return pick, others
	}
	lowest := candidates[pick].score
	for i := range candidates {
		if c := &candidates[i]; c.score-lowest < indifference && c.preferredTo(&candidates[pick]) {
			pick = i
		}
	}
	return pick, others
}

// contention describes the other requests that a decision delays.
type contention struct {
	arrivalRate float64 // requests that come to one upstream per nanosecond, on average
	behind      float64 // requests that will wait behind this one wherever it goes
}

// contentionOf looks at all candidates together: what a single one is sent
// depends on the decisions made here, and must not feed back on them.
//
// With an idle upstream nobody has to wait. But when even the shortest queue
// holds some prompts, others will wait behind this one, see arrivalsUntilIdle.
func contentionOf(candidates []scoredCandidate) (c contention) {
	if len(candidates) == 0 {
		return c
	}
	shortest, demand := candidates[0].Queued, 0.0
	for i := range candidates {
		shortest = min(shortest, candidates[i].Queued)
		demand += candidates[i].Demand
		c.arrivalRate += candidates[i].Rate
	}
	n := float64(len(candidates))
	c.arrivalRate /= n
	c.behind = arrivalsUntilIdle(shortest, demand/n)
	return c
}

// arrivalsUntilIdle returns the number of prompts that will come to a queue before it
// is empty again.
//
// About as many as are queued will have come when the last of them has its turn
// (Little's law: a queue holds as many as arrive during the wait in it), more
// while those are served, and so on: queued/(1-demand) in all, the length of a
// busy period.
//
// A demand above 1 would never let it end. But no overload lasts for ever, and
// with nothing known of its cause the best guess is that it is halfway through:
// as many are to come as have come. Of those that have come only the share
// 1-1/demand still waits. Reckoning with more would let one queue grow far beyond
// the others for ever smaller hits, and those at its end wait longest of all.
func arrivalsUntilIdle(queued int, demand float64) float64 {
	times := 1 / (1 - maxDemand)
	if demand < 1 {
		times = min(times, 1/(1-demand))
	} else {
		times = min(times, demand/(demand-1))
	}
	return float64(queued) * times
}

// computeScore returns the predicted time to first token, the delay of the rest of
// the answer and the penalty, plus what this request costs those that come after
// it: each waits for as long as it computes. So the more there is to do, the more
// computing something again weighs against waiting for it. Looking at the request
// alone would drive an overloaded fleet deeper into its overload.
//
// Those after it are the requests that come to just this upstream while it waits
// and computes, and the requests that have nowhere else to go, see contention.
//
// For the latter it counts half of what has to be computed here and now, and
// half of what would have to be if the upstream had kept all it was sent. A
// conversation that was pushed out of a full cache gains nothing today by going
// back to where it was. But if such conversations go from one upstream to the
// next, each pushes out another, and soon none of them finds anything anywhere.
func (c *scoredCandidate) computeScore(others contention) time.Duration {
	own, wait := float64(prefill(c.Uncached, c.PerToken)), float64(c.Wait)
	after := others.arrivalRate * (wait + own/2) * own
	if others.behind > 0 {
		after += others.behind * (own + float64(prefill(c.Unsent, c.PerToken))) / 2
	}
	all := wait + own + float64(c.DecodeDelay) + float64(c.Penalty) + after
	return time.Duration(min(all, float64(maxScore)))
}

const maxScore = 1000 * time.Hour

// preferredTo orders candidates whose scores are equal. An expected failure is
// worse than an equally long wait: the wait ends with an answer.
func (c *scoredCandidate) preferredTo(than *scoredCandidate) bool {
	if riskier := c.Penalty - than.Penalty; riskier >= indifference || riskier <= -indifference {
		return riskier < 0
	}
	if c.InFlight != than.InFlight {
		return c.InFlight < than.InFlight
	}
	return c.Footprint < than.Footprint
}
