// SPDX-License-Identifier: Apache-2.0

package routing

import "time"

// blocks is how much of an upstream's KV cache is taken. An engine begins with
// no prompt that it has no room for: the blocks of running requests stay until
// their answers have ended, however idle the GPU is. The zero value is none.
//
// Of each request only what it had to compute is counted: blocks that several
// share are there once, and to count them for each would make just those
// upstreams look full that share most. What is missing so, and what answers
// take, the engine's own word adds.
type cacheUsage struct {
	pinned int64 // tokens that the requests sent there have computed, or will
	others int64 // tokens in use beyond that when the engine last told
}

// told takes in the share of its capacity that an engine says to be in use.
func (b *cacheUsage) setReported(usage float64, capacity int64) {
	b.others = max(0, int64(min(1, usage)*float64(capacity))-b.pinned)
}

// wait returns how long a prompt waits for room. What is too much for the
// cache, of it and of those before it, has to wait until as much was given
// back; and all that a full cache holds is given back in the time for which a
// request keeps its part. It is 0 where capacity or holding are not known.
func (b *cacheUsage) waitForRoom(uncached int, others, capacity int64, holding time.Duration) time.Duration {
	over := b.pinned + others + int64(uncached) - capacity
	if capacity <= 0 || over <= 0 {
		return 0
	}
	return time.Duration(min(float64(over)/float64(capacity)*float64(holding), float64(maxScore)))
}

// holding is how long a request keeps its blocks: for its prefill, as
// predicted, and from its first token to its end, averaged over those that were
// streamed, whatever the upstream. The others do not tell when they began. The
// zero value has learned nothing.
type blockLifetime struct{ time, count float64 } // ns, fading

func (h *blockLifetime) learn(d time.Duration) {
	const fade = 1 - 1.0/costMemory
	h.time = h.time*fade + float64(max(0, d))
	h.count = h.count*fade + 1
}

// mean returns 0 when nothing has been learned.
func (h *blockLifetime) mean() time.Duration {
	if h.count == 0 {
		return 0
	}
	return time.Duration(h.time / h.count)
}
