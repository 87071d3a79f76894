// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"math"
	"time"
)

// Gain returns the most time that staged blocks can save a request: the tokens that
// the engine need not compute, times the cost of one.
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

// HoldTime returns the longest time that a request may be held for its staging; 0:
// not at all. It is never longer than limit, always shorter than gain, and 0 when
// the staging is expected to take longer.
func HoldTime(gain, expected, limit time.Duration) time.Duration {
	longest := min(limit, gain-1)
	if longest <= 0 || expected > longest {
		return 0
	}
	return longest
}
