// SPDX-License-Identifier: Apache-2.0

package fleet

import "time"

const (
	// BytesPerToken is how many bytes of prompt text one token is taken to
	// stand for: the usual figure for English text and byte-pair vocabularies.
	BytesPerToken = 4

	// indifference is the difference in predicted time to first token below
	// which two upstreams count as equal: below the noise of a network and of
	// an engine's scheduling step.
	indifference = time.Millisecond
)

// candidate is one upstream that could take a request.
type candidate struct {
	Wait      time.Duration // until the prefill queued there is done, see queue.wait
	PerToken  time.Duration // what a prompt token costs there, see cost
	Uncached  int           // prompt tokens it would have to compute
	Unsent    int           // prompt tokens it was never sent: Uncached, had it kept all
	Queued    int           // prompts whose prefill is not done
	Demand    float64       // share of its time it is asked to prefill, see demand
	InFlight  int           // requests it is busy with, prefilling or decoding
	Footprint int64         // uncached tokens sent there so far: how full its cache is
}

// choose returns the index of the candidate with the smallest price, or -1 when
// there is none. Among those that are equal within indifference it is the one
// with the fewest requests in flight, then the one that has been given the
// least to compute, whose cache has most room.
func choose(candidates []candidate) int {
	behind := behind(candidates)
	best := -1
	var lowest time.Duration
	for i := range candidates {
		if p := candidates[i].price(behind); best < 0 || p < lowest {
			best, lowest = i, p
		}
	}
	for i := range candidates {
		if candidates[i].price(behind)-lowest < indifference && candidates[i].lighter(&candidates[best]) {
			best = i
		}
	}
	return best
}

// price is the predicted time to first token, plus what this request costs
// those that will wait behind it: as long as it computes, each of them waits
// for it.
//
// For them it counts half what has to be computed here and now, and half what
// would have to be if the upstream had kept all it was sent. A conversation
// that was pushed out of a full cache gains nothing today by going where it was
// before; but if those that do not fit go from one upstream to the next, then
// each pushes out another, and soon none of them finds anything anywhere.
func (c *candidate) price(behind float64) time.Duration {
	own := prefill(c.Uncached, c.PerToken)
	if behind == 0 {
		return c.Wait + own
	}
	others := behind * float64(own+prefill(c.Unsent, c.PerToken)) / 2
	return c.Wait + own + time.Duration(min(others, float64(maxPrice)))
}

const maxPrice = 1000 * time.Hour

// behind returns how many requests will come to wait behind the next one.
//
// With an idle upstream to take them it is none. But when even the shortest
// queue holds k prompts, then about k more will have come when this one has its
// turn (Little's law: a queue holds as many as arrive during the wait in it),
// and more of them come while those are served: k/(1-demand) in all, the length
// of a busy period. So the more there is to do everywhere, the more does
// computing something again weigh against waiting for it. To look at the
// request alone would drive an overloaded fleet deeper into its overload.
func behind(candidates []candidate) float64 {
	if len(candidates) == 0 {
		return 0
	}
	shortest, demand := candidates[0].Queued, 0.0
	for i := range candidates {
		shortest = min(shortest, candidates[i].Queued)
		demand += candidates[i].Demand
	}
	return float64(shortest) / (1 - min(busiest, demand/float64(len(candidates))))
}

// lighter orders candidates that would answer equally soon.
func (c *candidate) lighter(than *candidate) bool {
	if c.InFlight != than.InFlight {
		return c.InFlight < than.InFlight
	}
	return c.Footprint < than.Footprint
}
