// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"math"
	"time"
)

const (
	// startAnswer is the number of tokens in an answer until engines reported some:
	// the median of a production chat service (Patel et al., "Splitwise", ISCA 2024,
	// section III).
	startAnswer = 128
	// startAnswers is the weight of the start value, in answers observed.
	startAnswers = 8

	// maxAnswer bounds the length of an answer that is believed, in tokens: more
	// than any model can generate at once.
	maxAnswer = 1 << 20

	// decodePerRequest is the time that each request in a batch adds to a decode
	// step, in which the engine reads that request's own KV cache: 6,000 tokens of
	// 128 KiB (Llama 3 8B) at the 3.35 TB/s of an H100.
	decodePerRequest = 250 * time.Microsecond
)

// batchCost is the time by which one request that an engine decodes all the while
// delays the end of another's answer: each step that decodes both takes longer. It
// is the same for all upstreams. The zero value has learned nothing.
type batchCost struct {
	answers, tokens float64 // fading
}

// learn adds an answer of so many tokens.
func (b *batchCost) learn(tokens int) {
	const fade = 1 - 1.0/(8*costMemory) // over all upstreams
	b.answers = b.answers*fade + 1
	b.tokens = b.tokens*fade + float64(tokens)
}

func (b *batchCost) perRequest() time.Duration {
	answer := (b.tokens + startAnswers*startAnswer) / (b.answers + startAnswers)
	return time.Duration(answer * float64(decodePerRequest))
}

// addDecodeDelays fills in by how long the requests in flight at each candidate
// delay the end of a further one's answer; perRequest is the batch cost.
//
// Half of an answer is generated beside another one, whether either has begun: if
// lengths are distributed exponentially, the shorter of two has half the mean, and
// what is left of one is as long as a whole one.
//
// Batches differ by chance, and such a difference is gone before the answer ends:
// leaving a prefix for it would cost cache hits for nothing. So of the requests
// past their prefill only those count that exceed the mean by more than chance
// explains (shrinkage as in cost.shrunkPerToken, where the variance is the mean:
// Poisson).
func addDecodeDelays(candidates []scoredCandidate, perRequest time.Duration) {
	decoding := 0
	for i := range candidates {
		decoding += candidates[i].decoding()
	}
	mean := float64(decoding) / float64(max(1, len(candidates)))
	byChance := int(mean + certain*math.Sqrt(mean))
	for i := range candidates {
		c := &candidates[i]
		if c.Queued <= 0 && c.decoding() <= byChance {
			continue // nearly always
		}
		beside := float64(max(0, c.Queued)) + excess(float64(c.decoding()), mean)
		c.DecodeDelay = time.Duration(min(beside/2*float64(perRequest), float64(maxScore)))
	}
}

// decoding returns the requests that are past their prefill there.
func (c *scoredCandidate) decoding() int { return max(0, c.InFlight-c.Queued) }

// excess returns by how much a count exceeds the mean of several beyond chance.
func excess(count, mean float64) float64 {
	more, explained := count-mean, certain*certain*mean
	if more <= 0 || more*more <= explained {
		return 0
	}
	return more - explained/more
}
