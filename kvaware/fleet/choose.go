// SPDX-License-Identifier: Apache-2.0

package fleet

import "time"

const (
	// prefillCost is the time one uncached prompt token is taken to cost:
	// 8,000 tokens a second, a mid-size model on one data-centre GPU. What
	// matters for choosing between equal upstreams is only the ratio of
	// queued to own tokens, which it does not change.
	prefillCost = 125 * time.Microsecond

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
	Uncached  int           // prompt tokens it would have to compute
	InFlight  int           // requests it is busy with, prefilling or decoding
	Footprint int64         // uncached tokens sent there so far: how full its cache is
}

// ttft is the predicted time to first token.
func (c candidate) ttft() time.Duration {
	return c.Wait + prefill(c.Uncached)
}

// prefill returns how long an engine takes to compute that many tokens.
func prefill(tokens int) time.Duration {
	return time.Duration(tokens) * prefillCost
}

// choose returns the index of the candidate with the smallest predicted time
// to first token, or -1 when there is none. Among those that are equal within
// indifference it is the one with the fewest requests in flight, then the one
// that has been given the least to compute, whose cache has most room.
func choose(candidates []candidate) int {
	best := -1
	var soonest time.Duration
	for i := range candidates {
		if t := candidates[i].ttft(); best < 0 || t < soonest {
			best, soonest = i, t
		}
	}
	for i := range candidates {
		if candidates[i].ttft()-soonest < indifference && candidates[i].lighter(candidates[best]) {
			best = i
		}
	}
	return best
}

// lighter orders candidates that would answer equally soon.
func (c candidate) lighter(than candidate) bool {
	if c.InFlight != than.InFlight {
		return c.InFlight < than.InFlight
	}
	return c.Footprint < than.Footprint
}
