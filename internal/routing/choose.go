// SPDX-License-Identifier: Apache-2.0

package routing

import "time"

const (
	// BytesPerToken is how many bytes of prompt text one token is taken to
	// stand for: the usual figure for English text and byte-pair vocabularies.
	DefaultBytesPerToken = 4

	// indifference is the difference in predicted time to first token below
	// which two upstreams count as equal: below the noise of a network and of
	// an engine's scheduling step.
	indifference = time.Millisecond
)

// candidate is one upstream that could take a request.
type scoredCandidate struct {
	Wait      time.Duration // until its prefill can begin, see Fleet.wait
	PerToken  time.Duration // what a prompt token costs there, see cost
	Uncached  int           // prompt tokens it would have to compute
	Unsent    int           // prompt tokens it was never sent: Uncached, had it kept all
	Queued    int           // prompts whose prefill is not done
	Demand    float64       // share of its time it is asked to prefill, see demand
	Rate      float64       // requests sent there in a nanosecond, see demand
	InFlight  int           // requests it is busy with, prefilling or decoding
	Footprint int64         // uncached tokens sent there so far: how full its cache is

	score time.Duration // its price, once choose has looked at it
}

// choose returns the index of the candidate with the smallest price, or -1 when
// there is none. Among those that are equal within indifference it is the one
// with the fewest requests in flight, then the one that has been given the
// least to compute, whose cache has most room. It tells what other requests it
// thought of, too.
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
		if c := &candidates[i]; c.score-lowest < indifference && c.lessLoadedThan(&candidates[pick]) {
			pick = i
		}
	}
	return pick, others
}

// crowd is how many other requests there are to think of.
type contention struct {
	arrivalRate float64 // that come to one upstream in a nanosecond, on average
	behind      float64 // that will wait behind the next one wherever it goes
}

// crowdOf looks at all candidates: what one of them is sent depends on the
// decisions made here, and must not feed back on them.
//
// With an idle upstream nobody has to wait. But when even the shortest queue
// holds some prompts, then others will wait behind this one, see toCome.
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

// toCome is how many will come to a queue of so many prompts before it is
// empty again.
//
// About as many will have come when the last of them has its turn (Little's
// law: a queue holds as many as arrive during the wait in it), more of them
// while those are served, and so on: queued/(1-demand) in all, the length of a
// busy period.
//
// A demand above 1 would never let it end. But no overload lasts for ever, and
// the best guess knowing nothing of its cause is that it is halfway through: as
// many are to come as have come. They are more than those that still wait, of
// whom there is only what could not be served, a share of 1-1/demand. To
// reckon with more would let a queue grow far beyond the others for the sake of
// ever smaller hits, and those at its end wait longest of all.
func arrivalsUntilIdle(queued int, demand float64) float64 {
	times := 1 / (1 - maxDemand)
	if demand < 1 {
		times = min(times, 1/(1-demand))
	} else {
		times = min(times, demand/(demand-1))
	}
	return float64(queued) * times
}

// price is the predicted time to first token, plus what this request costs
// those that come after it, each of whom waits for as long as it computes: the
// more there is to do, the more does computing something again weigh against
// waiting for it. To look at the request alone would drive an overloaded fleet
// deeper into its overload.
//
// Those are the ones that come while it waits and computes, and want just this
// upstream; and those that have nowhere else to go either, see crowd.
//
// For the latter it counts half what has to be computed here and now, and half
// what would have to be if the upstream had kept all it was sent. A
// conversation that was pushed out of a full cache gains nothing today by going
// where it was before; but if those that do not fit go from one upstream to the
// next, then each pushes out another, and soon none of them finds anything
// anywhere.
func (c *scoredCandidate) computeScore(others contention) time.Duration {
	own, wait := float64(prefill(c.Uncached, c.PerToken)), float64(c.Wait)
	after := others.arrivalRate * (wait + own/2) * own
	if others.behind > 0 {
		after += others.behind * (own + float64(prefill(c.Unsent, c.PerToken))) / 2
	}
	return time.Duration(min(wait+own+after, float64(maxScore)))
}

const maxScore = 1000 * time.Hour

// lighter orders candidates that would answer equally soon.
func (c *scoredCandidate) lessLoadedThan(than *scoredCandidate) bool {
	if c.InFlight != than.InFlight {
		return c.InFlight < than.InFlight
	}
	return c.Footprint < than.Footprint
}
