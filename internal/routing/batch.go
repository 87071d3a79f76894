// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"math"
	"time"
)

const (
	// startAnswer is the number of tokens in an answer until some were observed: the
	// median of a production chat service (Patel et al., "Splitwise", ISCA 2024,
	// section III).
	startAnswer = 128
	// startAnswers is the weight of the start value, in answers observed: little,
	// because answers differ from service to service more than within one.
	startAnswers = 2
	// decodeTokens is the number of prompt tokens that an engine computes in the time
	// that each request in a batch adds to a decode step: 0.25 ms at startCost, in
	// which an H100 (3.35 TB/s) reads the KV cache of 6,000 tokens of 128 KiB (Llama
	// 3 8B).
	decodeTokens = 2

	// weightsInRequests is the number of requests whose KV caches an engine reads in
	// the time in which it reads the model's weights: 16 GB for Llama 3 8B in BF16,
	// 0.26 GB for a request with 2,000 tokens. A decode step reads the weights once,
	// and the KV cache of each request in the batch.
	weightsInRequests = 64
)

// batchCost is the time by which one request that an engine decodes all the while
// delays the end of another's answer: each step that decodes both takes longer. It
// is learned from the time that streamed answers take, which needs no count of
// their tokens, and is the same for all upstreams. The zero value has learned
// nothing.
type batchCost struct {
	answers, delay float64 // fading; ns
}

// learn adds an answer that took so long to decode, beside other requests.
func (b *batchCost) learn(decode time.Duration, beside int) {
	const fade = 1 - 1.0/(8*costMemory) // over all upstreams
	b.answers = b.answers*fade + 1
	b.delay = b.delay*fade + float64(max(0, decode))/float64(weightsInRequests+max(0, beside))
}

// perRequest returns the cost; perToken is the cost of a prompt token.
func (b *batchCost) perRequest(perToken time.Duration) time.Duration {
	start := startAnswer * decodeTokens * float64(perToken)
	return time.Duration((b.delay + startAnswers*start) / (b.answers + startAnswers))
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
// Poisson). Where the KV cache is full, the queued ones begin as others end, and the
// batch does not grow.
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
		beside := excess(float64(c.decoding()), mean)
		if !c.Full {
			beside += float64(max(0, c.Queued))
		}
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
