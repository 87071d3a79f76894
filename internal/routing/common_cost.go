// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"slices"
	"time"
)

// alike is the factor by which the costs of upstreams of one kind differ at most:
// more than chance makes of some observations, and less than a generation of GPUs
// does (A100 and H100: 312 and 989 TFLOP/s in BF16, by NVIDIA's data sheets).
const alike = 1.5

// commonCost is the time that a token costs on most upstreams: what is believed of
// an upstream of which little is known. It is the mean over those that are alike.
// A mean over all would lie between them and one that is ten times slower: an
// upstream that was observed less than its equals would seem to cost more, get less
// to do, and never be observed enough. The zero value has learned nothing.
type commonCost struct {
	perToken time.Duration // 0: nothing is known
	learned  int           // observations
	due      int           // the number of observations at which it is computed again
	sorted   []evidence    // reused
}

// evidence holds the time and the tokens of one upstream's observed prefills.
type evidence struct{ took, tokens float64 }

func (e evidence) perToken() float64 { return e.took / e.tokens }

// updateCommonCost notes that the cost of an upstream was observed. Not each
// observation has the common cost computed again, so the time that this takes does
// not grow with the number of upstreams. The caller holds mu.
func (rt *Router) updateCommonCost() {
	c := &rt.commonCost
	if c.learned++; c.learned < c.due {
		return
	}
	c.due = c.learned + max(1, min(c.learned/8, len(rt.upstreams)))
	c.sorted = append(c.sorted[:0], evidence{startTokens * float64(startCost), startTokens})
	for _, u := range rt.upstreams {
		if u.cost.tokens > 0 {
			c.sorted = append(c.sorted, evidence{u.cost.took, u.cost.tokens})
		}
	}
	c.perToken = meanOfLike(c.sorted)
}

// meanOfLike returns the mean cost of a token over the upstreams that are like the
// median. Each counts by its tokens. It sorts all.
func meanOfLike(all []evidence) time.Duration {
	slices.SortFunc(all, func(a, b evidence) int { return cmp.Compare(a.perToken(), b.perToken()) })
	left := 0.0
	for _, e := range all {
		left += e.tokens / 2
	}
	median := 0.0
	for _, e := range all {
		if left -= e.tokens; left <= 0 {
			median = e.perToken()
			break
		}
	}
	var like evidence
	for _, e := range all {
		if t := e.perToken(); t <= median*alike && t*alike >= median {
			like.took, like.tokens = like.took+e.took, like.tokens+e.tokens
		}
	}
	return min(highestCost, max(lowestCost, time.Duration(like.perToken())))
}

// value returns the cost, startCost before anything is known.
func (c *commonCost) value() time.Duration { return cmp.Or(c.perToken, startCost) }
