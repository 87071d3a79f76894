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

	// unboundedFactor is how many times the estimate the tree keeps for an
	// upstream that reports cached tokens, until a block was seen gone: there is
	// no other way to learn that the estimate is too small.
	unboundedFactor = 2

	// implausibleFactor is how much more recently than a block that was still
	// there a block that is gone may have been used: depths are estimates.
	implausibleFactor = 2

	// restartAfter is how many answers in a row must have nothing cached, where
	// something should have been, for the upstream to count as restarted.
	restartAfter = 3
)

// capacity is how many tokens an upstream's KV cache holds: as configured or
// reported at first, then as its answers show.
type capacity struct {
	initial       int64 // tokens, as configured or reported; 0: not known
	estimate      int64 // tokens; 0: not known, the tree forgets nothing
	filled        int64 // tokens computed there so far
	deepest       int64 // the most tokens ago that a block was last used and still there
	reportsCached bool  // the upstream has reported cached tokens at least once
	observed      bool  // its answers have shown whether blocks were there
	bounded       bool  // a block was seen gone
	lowerings     int64 // of the estimate
	missesInRow   int   // answers in a row with nothing cached that should have been
}

// setInitial sets the capacity that is configured or read from the metrics.
func (c *capacity) setInitial(tokens int64) {
	if tokens = max(0, tokens); tokens != c.initial {
		c.initial, c.estimate = tokens, tokens
		c.bounded, c.lowerings = false, 0
	}
}

// treeLimit is how much the tree keeps for the upstream, in tokens; 0: all.
func (c *capacity) treeLimit() int64 {
	if c.observed && !c.bounded {
		return unboundedFactor * c.estimate
	}
	return c.estimate
}

// size is how many tokens running requests can hold; 0: not known. What answers
// show can raise it but not lower it: they show for how long a prompt stays
// cached, and running answers take from that.
func (c *capacity) size() int64 {
	if c.initial == 0 {
		return 0
	}
	return max(c.initial, c.estimate)
}

// learn learns from an answer: the prompt's first cached blocks were still there,
// and the next one was gone. depths says how long ago each was last used.
func (c *capacity) learn(depths []depth, cached int) {
	c.observed = true
	for _, d := range depths {
		if d.tokens == 0 {
			continue // perhaps used by a prompt that is still being computed
		}
		if int(d.block) >= cached {
			c.evicted(d.tokens)
			return
		}
		c.deepest = max(c.deepest, d.tokens)
		if c.estimate > 0 && d.tokens > c.estimate {
			c.estimate += (d.tokens - c.estimate) / raiseShare
		}
	}
}

// evicted learns from a block that was gone, last used that many tokens ago.
func (c *capacity) evicted(tokens int64) {
	if tokens < c.deepest/implausibleFactor {
		// Blocks used longer ago were still there. If this repeats, the cache
		// has shrunk since.
		c.deepest -= c.deepest / lowerShareAtMost
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
