// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"math"
	"time"
)

// Gain is what staged blocks can save a request at most: the tokens that the
// engine would not compute because of them, times what computing one costs.
func Gain(tokens int, secondsPerToken float64) time.Duration {
	seconds := float64(tokens) * secondsPerToken
	if tokens <= 0 || !(seconds > 0) { // also NaN
		return 0
	}
	if seconds > math.MaxInt64/float64(time.Second) {
		return math.MaxInt64
	}
	return time.Duration(seconds * float64(time.Second))
}

// ShouldWait returns for how long a request should be held for its staging; 0:
// not at all. It is held only if more is gained than the time it can be held:
// never longer than limit, always shorter than gain, and not at all when the
// staging is expected to take longer than that. expected 0 means that nothing
// is known: then it is believed to take all of limit.
func HoldTime(gain, expected, limit time.Duration) time.Duration {
	if expected <= 0 {
		expected = limit
	}
	longest := min(limit, gain-1)
	if longest <= 0 || expected > longest {
		return 0
	}
	return longest
}
