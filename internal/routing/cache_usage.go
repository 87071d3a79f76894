// SPDX-License-Identifier: Apache-2.0

package routing

import "time"

// cacheUsage is the used part of an upstream's KV cache. An engine begins no
// prompt that it has no room for: the blocks of running requests stay until their
// answers have ended, however idle the GPU is. The zero value is an empty cache.
//
// Only the uncached tokens of a request are counted. Shared blocks are there
// once; counting them for each request would make just those upstreams look full
// that share most. The engine's report adds the difference, and the tokens of
// answers.
type cacheUsage struct {
	pinned int64 // tokens that the requests sent there compute
	others int64 // tokens in use beyond that at the engine's last report
}

// setReported takes the share of its capacity that an engine reports to use.
func (c *cacheUsage) setReported(usage float64, capacity int64) {
	c.others = max(0, int64(min(1, usage)*float64(capacity))-c.pinned)
}

// waitForRoom returns the time that a prompt waits for room. The tokens by which it
// and those before it exceed the cache have to be freed first, and a full cache
// is freed once in the time for which a request keeps its blocks. It is 0 where
// capacity or lifetime is not known.
func (c *cacheUsage) waitForRoom(uncached int, others, capacity int64, lifetime time.Duration) time.Duration {
	over := c.pinned + others + int64(uncached) - capacity
	if capacity <= 0 || over <= 0 {
		return 0
	}
	return time.Duration(min(float64(over)/float64(capacity)*float64(lifetime), float64(maxScore)))
}

// blockLifetime is the time for which a request keeps its blocks: its predicted
// prefill, and the time from its first token to its end. It is averaged over the
// streamed requests of all upstreams; other answers do not show when decoding began.
// The zero value has learned nothing.
type blockLifetime struct{ time, count float64 } // ns, fading

func (b *blockLifetime) learn(d time.Duration) {
	const fade = 1 - 1.0/costMemory
	b.time = b.time*fade + float64(max(0, d))
	b.count = b.count*fade + 1
}

// mean returns 0 when nothing has been learned.
func (b *blockLifetime) mean() time.Duration {
	if b.count == 0 {
		return 0
	}
	return time.Duration(b.time / b.count)
}
