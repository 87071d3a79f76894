// SPDX-License-Identifier: Apache-2.0

package routing

const (
	// A block that was there from deeper than the capacity was taken to be
	// raises it by half the difference. One that was gone although it was not as
	// deep lowers it by half at first, and by less and less, down to an eighth:
	// taking a cache for too small costs more than taking it for too large,
	// since what is forgotten is not asked for any more.
	raiseShare       = 2
	lowerShareAtMost = 8

	// unsettled is how much more than the capacity it was given a tree keeps
	// for an upstream whose answers tell, until a block was seen gone: there is no
	// other way to learn that the figure is too small.
	unboundedFactor = 2

	// implausible is by how much a block that is gone may have been used later
	// than one that was still there: depths are estimates.
	implausibleFactor = 2

	// lostAfter is after how many answers in a row with nothing cached, where
	// something should have been, an upstream is taken to have restarted.
	restartAfter = 3
)

// capacity is how many tokens an upstream's KV cache holds, as configured or
// reported at first and then as its answers show.
type capacity struct {
	initial       int64 // tokens; 0: nobody has told
	estimate      int64 // tokens; 0: not known, nothing is forgotten
	filled        int64 // tokens computed there so far
	deepest       int64 // from how many tokens ago a block was still there
	reportsCached bool  // the upstream has reported cached tokens at least once
	observed      bool  // its answers have shown something
	bounded       bool  // a block was seen gone
	lowerings     int64 // times
	missesInRow   int   // answers in a row that had lost all
}

// give notes what is configured or read from the engine's metrics.
func (c *capacity) setInitial(tokens int64) {
	if tokens = max(0, tokens); tokens != c.initial {
		c.initial, c.estimate = tokens, tokens
		c.bounded, c.lowerings = false, 0
	}
}

// limit is what the tree may keep for the upstream, in tokens; 0: all.
func (c *capacity) treeLimit() int64 {
	if c.observed && !c.bounded {
		return unboundedFactor * c.estimate
	}
	return c.estimate
}

// size is how much running requests can hold, in tokens; 0: nobody has told.
// What answers have shown can make it larger, not smaller: they tell for how
// long a prompt is remembered, and answers in progress take from that.
func (c *capacity) size() int64 {
	if c.initial == 0 {
		return 0
	}
	return max(c.initial, c.estimate)
}

// learn takes an answer's word for it: of the prompt's first blocks, held were
// in the cache. Blocks before that were there, although last used so long ago;
// the first one after was gone.
func (c *capacity) learn(depths []depth, held int) {
	c.observed = true
	for _, d := range depths {
		if d.tokens == 0 {
			continue // used by a prompt still being computed, perhaps
		}
		if int(d.block) >= held {
			c.evicted(d.tokens)
			return
		}
		c.deepest = max(c.deepest, d.tokens)
		if c.estimate > 0 && d.tokens > c.estimate {
			c.estimate += (d.tokens - c.estimate) / raiseShare
		}
	}
}

// gone notes that a block was gone that was last used that many tokens ago.
func (c *capacity) evicted(tokens int64) {
	if tokens < c.deepest/implausibleFactor {
		// What was used longer ago was there. If it goes on like that, the
		// cache has shrunk, and that was before.
		c.deepest -= c.deepest / lowerShareAtMost
		return
	}
	if c.estimate == 0 {
		// One answer may be wrong. All that was ever put in is the most there
		// can be, and the place to start from.
		c.estimate, c.bounded = max(tokens, c.filled), true
	}
	c.bounded = c.bounded || tokens < c.treeLimit()
	if tokens < c.estimate {
		c.lowerings++
		c.estimate -= (c.estimate - tokens) / min(1+c.lowerings, lowerShareAtMost)
	}
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
