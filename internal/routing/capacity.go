// SPDX-License-Identifier: Apache-2.0

package routing

const (
	// A block that was still there, although last used longer ago than the
	// estimate allows, raises the estimate by half the difference. One that was
	// gone too early lowers it, by half at first and by less and less, down to an
	// eighth. An estimate that is too small costs more than one that is too
	// large, because nothing asks again for what the tree has forgotten.
	raiseShare       = 2
	lowerShareAtMost = 8

	// unboundedFactor times the estimate is the tree's limit for an upstream that
	// reports cached tokens, until a block was seen gone: there is no other way to
	// learn that the estimate is too small.
	unboundedFactor = 2

	// implausibleFactor is the error that depths may have as estimates: a block that
	// is gone may have been used more recently, by this factor, than one still there.
	implausibleFactor = 2

	// olderFactor is the difference between depths that are of different times: they
	// are measured to about a tenth. A block that was gone, although one last used as
	// long ago was there, was not evicted: engines evict by the time of use. Its tokens
	// are others in this prompt, or the cached tokens end elsewhere in the text.
	olderFactor = 1.25

	// doubtAfter misses, and none of them refuted since by a block that was still there
	// after a longer time, show that an upstream holds less than it reports: others
	// fill its cache too, and running requests keep their blocks in it.
	doubtAfter = 8

	// A miss counts for lostMisses when as much is gone as no other reason explains:
	// at least lostTokens, and one token in lostShare, of what the prompt shares with
	// one before it.
	lostMisses = 4
	lostTokens = 8 * wholeTokens
	lostShare  = 4

	// restartAfter answers in a row with nothing cached, where something should have
	// been, mean that the upstream has restarted.
	restartAfter = 3
)

// capacity is the size of an upstream's KV cache in tokens: as configured or
// reported at first, then as its answers show. They lower what was reported on strong
// evidence only: a block is also missing when its tokens are others in the new prompt,
// or when the engine never had it as a whole block.
type capacity struct {
	initial       int64 // tokens, as configured or reported; 0: not known
	estimate      int64 // tokens; 0: not known, the tree forgets nothing
	filled        int64 // tokens computed there so far
	deepest       int64 // the most tokens ago that a block was last used and still there
	reportsCached bool  // the upstream has reported cached tokens at least once
	observed      bool  // its answers have shown whether blocks were there
	bounded       bool  // a block was seen gone
	lowerings     int64 // of the estimate
	doubts        int   // misses in a row before the reported capacity was used
	shallowest    int64 // of the doubts, the fewest tokens ago that a block was last used
	missesInRow   int   // answers in a row with nothing cached that should have been
}

// setInitial sets the capacity that is configured or read from the metrics.
func (c *capacity) setInitial(tokens int64) {
	if tokens = max(0, tokens); tokens != c.initial {
		c.initial, c.estimate = tokens, tokens
		c.bounded, c.lowerings, c.doubts = false, 0, 0
	}
}

// treeLimit is the tree's limit for the upstream, in tokens; 0: none.
func (c *capacity) treeLimit() int64 {
	if c.observed && !c.bounded {
		return unboundedFactor * c.estimate
	}
	return c.estimate
}

// size is the number of tokens that running requests can hold; 0: not known. Answers
// can raise it but not lower it: they show for how long a prompt stays cached, and
// running answers take from that.
func (c *capacity) size() int64 {
	if c.initial == 0 {
		return 0
	}
	return max(c.initial, c.estimate)
}

// learn learns from an answer: the prompt's first cached blocks were still there,
// and the next one was gone. depths says how long ago each was last used, and
// perBlock is the tokens in a block.
func (c *capacity) learn(depths []depth, cached, perBlock int) {
	c.observed = true
	found := int64(0) // the most tokens ago that a block of this prompt was used and still there
	for _, d := range depths {
		if d.tokens == 0 {
			continue // perhaps used by a prompt that is still being computed
		}
		if int(d.block) >= cached {
			if n := d.misses(found, cached, perBlock); n > 0 {
				c.evicted(d.tokens, n)
			}
			return
		}
		found = max(found, d.tokens)
		c.deepest = max(c.deepest, d.tokens)
		if older(d.tokens, c.shallowest) {
			c.doubts = 0 // blocks used longer ago are there
		}
		if c.estimate > 0 && d.tokens > c.estimate {
			c.estimate += (d.tokens - c.estimate) / raiseShare
		}
	}
}

// misses returns how many misses a block counts for that was gone, where found is the
// most tokens ago that a block before it was used; 0: it was perhaps not evicted.
func (d *depth) misses(found int64, cached, perBlock int) int {
	lost := int(d.end) - cached
	switch {
	case d.partial:
		return 0
	case lost*perBlock >= lostTokens && lost*lostShare >= int(d.end):
		return lostMisses
	case older(d.tokens, found):
		return 1
	}
	return 0
}

// evicted learns from a block that was gone, last used that many tokens ago, and
// counts for so many misses.
func (c *capacity) evicted(tokens int64, misses int) {
	if tokens < c.deepest/implausibleFactor {
		// Blocks used longer ago were still there. If this repeats, the cache
		// has shrunk since.
		c.deepest -= c.deepest / lowerShareAtMost
		return
	}
	if tokens < c.initial && !c.doubted(tokens, misses) {
		return
	}
	if c.estimate == 0 {
		// One answer may be wrong. Start from the most the cache can have: all
		// that was ever computed there.
		c.estimate, c.bounded = max(tokens, c.filled), true
	}
	c.bounded = c.bounded || tokens < c.treeLimit()
	if tokens < c.estimate {
		c.lowerings++
		c.estimate -= (c.estimate - tokens) / min(1+c.lowerings, lowerShareAtMost)
	}
}

// older reports whether a block at one depth is clearly evicted before one at another.
func older(depth, than int64) bool { return float64(depth) > olderFactor*float64(than) }

// doubted notes misses although the upstream reports room for all that was used since.
// It reports whether there are enough of them.
func (c *capacity) doubted(tokens int64, misses int) bool {
	if c.doubts == 0 {
		c.shallowest = tokens
	}
	c.doubts += misses
	c.shallowest = min(c.shallowest, tokens)
	return c.doubts >= doubtAfter
}

// restarted reports whether the upstream seems to have lost its whole cache:
// several answers in a row had nothing cached of what it was predicted to hold.
func (c *capacity) restarted(predicted, cached int) bool {
	switch {
	case cached > 0:
		c.missesInRow = 0
	case predicted > 0:
		c.missesInRow++
	}
	if c.missesInRow < restartAfter {
		return false
	}
	c.missesInRow = 0
	return true
}
