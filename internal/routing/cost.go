// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"math"
	"time"
)

const (
	// startCost is the time one uncached prompt token is taken to cost until
	// first tokens tell: 8,000 tokens a second, a mid-size model on one
	// data-centre GPU. What matters for choosing between equal upstreams is only
	// the ratio of queued to own tokens, which it does not change.
	startCost = 125 * time.Microsecond

	// The bounds of what can be learned: ten million tokens a second, and a
	// hundred.
	lowestCost  = 100 * time.Nanosecond
	highestCost = 10 * time.Millisecond

	// costMemory is over how many first tokens a cost is averaged.
	costMemory = 128
	// startTokens is the weight of the start value, in tokens observed.
	startTokens = 4096

	// startPrompt is how many tokens a prompt is taken to compute before any
	// was observed: one that is short for agents and long for chats.
	startPrompt = 1024
	// outlier bounds what one first token can teach: so many times as slow as
	// expected. Longer is a hang, a lost answer, or a cache that was not there.
	outlier = 4
	// startVariance is how much prefills are taken to deviate from what they are
	// predicted to take, squared, until there is enough to go by: a third.
	startVariance = 0.1
	// certain is how many standard errors an upstream's own cost must be away
	// from the others' to be believed at all.
	certain = 2
)

// cost is what a prompt token takes to compute, learned from first tokens. It
// is the ratio of sums of time and tokens, so that long prompts, which tell
// most, count most, and so that errors in when one prompt ends and the next
// begins cancel out. The zero value has learned nothing.
type cost struct {
	took             float64    // ns, fading
	tokens           float64    // fading
	count            float64    // fading
	decoding         decodeLoad // fading: tokens, times what was decoded beside them
	deviationSquares float64    // ns^2, fading: what was observed less what was expected
	expectedSquares  float64    // ns^2, fading: what was expected
}

// learn takes an observation in. start is the cost before any.
func (c *cost) learn(s prefillSample, start time.Duration) {
	if s.tokens <= 0 || s.took <= 0 {
		return
	}
	expected := float64(s.tokens) * float64(c.perToken(start))
	took := min(float64(s.took), outlier*expected)
	const fade = 1 - 1.0/costMemory
	c.took = c.took*fade + took
	c.tokens = c.tokens*fade + float64(s.tokens)
	c.count = c.count*fade + 1
	beside := decodeLoadOf(s.decoding)
	c.decoding.active = c.decoding.active*fade + float64(s.tokens)*beside.active
	c.decoding.requests = c.decoding.requests*fade + float64(s.tokens)*beside.requests
	c.deviationSquares = c.deviationSquares*fade*fade + (took-expected)*(took-expected)
	c.expectedSquares = c.expectedSquares*fade*fade + expected*expected
}

// perToken returns the time a token costs; start is what it is held for until
// there is enough to go by.
func (c *cost) perToken(start time.Duration) time.Duration {
	t := (c.took + startTokens*float64(start)) / (c.tokens + startTokens)
	return min(highestCost, max(lowestCost, time.Duration(t)))
}

// late returns the share of its cost that a prefill is to be counted for when
// it should be over by now: what the late ones are late by, averaged over all,
// is the standard deviation over the square root of 2 pi. To count them as
// nothing would make just those upstreams look idle that are behind.
func (c *cost) lateShare() float64 {
	const start = startTokens * float64(startCost)
	variance := (c.deviationSquares + startVariance*start*start) / (c.expectedSquares + start*start)
	return math.Sqrt(min(1, variance) / (2 * math.Pi))
}

// prompt returns what a prompt is to compute on average, in tokens. Where no
// answer is streamed nothing is observed, and a start value has to do.
func (c *cost) meanPrompt() int {
	if c.count == 0 {
		return startPrompt
	}
	return int(c.tokens / c.count)
}

// running returns what was decoded beside a prefill on average.
func (c *cost) meanDecoding() decodeLoad {
	if c.tokens == 0 {
		return decodeLoad{}
	}
	return decodeLoad{c.decoding.active / c.tokens, c.decoding.requests / c.tokens}
}

// among returns the time a token costs on one of several upstreams, of which
// typical is what it costs on all. Equal upstreams must not be told apart by
// the noise of what was observed there, or they get unequal work for nothing;
// so the difference counts only as far as it is more than its standard error
// can explain (shrinkage, after James and Stein).
func (c *cost) shrunkPerToken(typical time.Duration) time.Duration {
	own := c.perToken(typical)
	difference := float64(own - typical)
	weight := c.tokens + startTokens
	explained := certain * certain * c.deviationSquares / (weight * weight)
	if difference*difference <= explained {
		return typical
	}
	return typical + time.Duration(difference-explained/difference)
}

// prefill returns how long an engine takes to compute that many tokens.
func prefill(tokens int, perToken time.Duration) time.Duration {
	return time.Duration(tokens) * perToken
}
