// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"math"
	"time"
)

const (
	// startCost is the time one uncached prompt token costs until first tokens
	// were observed: 8,000 tokens a second, a mid-size model on one data-centre
	// GPU. The choice between equal upstreams depends only on the ratio of queued
	// to own tokens, which this does not change.
	startCost = 125 * time.Microsecond

	// The bounds of a learned cost: ten million tokens a second, and a hundred.
	lowestCost  = 100 * time.Nanosecond
	highestCost = 10 * time.Millisecond

	// costMemory is the number of first tokens that a cost is averaged over.
	costMemory = 128
	// startTokens is the weight of the start value, in tokens observed.
	startTokens = 4096

	// startPrompt is the number of tokens that a prompt computes until some were
	// observed: short for agents and long for chats.
	startPrompt = 1024
	// outlier bounds the effect of one first token, as a multiple of the expected
	// time. Longer is a hang, a lost answer, or a cache that was not there.
	outlier = 4
	// startVariance is the squared relative deviation of prefills from their
	// prediction until enough were observed: a third, squared.
	startVariance = 0.1
	// certain is the number of standard errors by which an upstream's own cost must
	// differ from that of its like to count at all. It is compared at every decision,
	// so a difference that chance makes once in twenty times (two standard errors)
	// would count at one of several upstreams nearly always.
	certain = 3
)

// cost is the time that a prompt token takes to compute, learned from first
// tokens. It is the ratio of the sums of time and tokens: long prompts, which
// tell most, count most, and errors about when one prompt ends and the next
// begins cancel out. The zero value has learned nothing.
type cost struct {
	took             float64    // ns, fading
	tokens           float64    // fading
	count            float64    // fading
	decoding         decodeLoad // fading: tokens, times the decodes beside them
	deviationSquares float64    // ns^2, fading: observed less expected time
	expectedSquares  float64    // ns^2, fading: expected time
}

// learn adds an observation. start is the cost before any.
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

// fade lets all that was observed count for a share of what it did. What is left
// of an upstream that is not tried any more comes to deserve another try.
func (c *cost) fade(share float64) {
	if c.tokens *= share; c.tokens < 1 {
		*c = cost{}
		return
	}
	c.took *= share
	c.count *= share
	c.decoding.active *= share
	c.decoding.requests *= share
	c.deviationSquares *= share * share
	c.expectedSquares *= share * share
}

// perToken returns the time a token costs; start is the prior.
func (c *cost) perToken(start time.Duration) time.Duration {
	t := (c.took + startTokens*float64(start)) / (c.tokens + startTokens)
	return min(highestCost, max(lowestCost, time.Duration(t)))
}

// lateShare returns the share of its cost for which a prefill counts that should
// be over by now. The mean delay of the late ones, over all prefills, is the
// standard deviation over the square root of 2 pi. Counting them as nothing would
// make just those upstreams look idle that are behind.
func (c *cost) lateShare() float64 {
	const start = startTokens * float64(startCost)
	variance := (c.deviationSquares + startVariance*start*start) / (c.expectedSquares + start*start)
	return math.Sqrt(min(1, variance) / (2 * math.Pi))
}

// meanPrompt returns the mean number of tokens that a prompt computes. Where no
// answer is streamed nothing is observed, and startPrompt has to do.
func (c *cost) meanPrompt() int {
	if c.count == 0 {
		return startPrompt
	}
	return int(c.tokens / c.count)
}

// meanDecoding returns the mean of the decodes beside a prefill.
func (c *cost) meanDecoding() decodeLoad {
	if c.tokens == 0 {
		return decodeLoad{}
	}
	return decodeLoad{c.decoding.active / c.tokens, c.decoding.requests / c.tokens}
}

// shrunkPerToken returns the time a token costs on one of several upstreams;
// typical is the cost on its like, see commonCost. Noise must not make equal upstreams look unequal,
// or they get unequal work for nothing. So a difference counts only by as much as
// it exceeds what its standard error explains (shrinkage, after James and Stein).
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

// prefill returns the time that an engine takes to compute that many tokens.
func prefill(tokens int, perToken time.Duration) time.Duration {
	return time.Duration(tokens) * perToken
}
