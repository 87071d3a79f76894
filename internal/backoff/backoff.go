// SPDX-License-Identifier: Apache-2.0

// Package pace tells how long to leave something alone that has failed, or that
// is asked again and again: longer and longer, and never in step with others.
package backoff

import "time"

// jitterShare is by which share a pause is made longer or shorter, so that
// several gateways do not ask in step.
const jitterShare = 0.2

// Backoff is the pause after so many failures in a row, at least one: first,
// then twice as long each time, at most most.
func Pause(failures int, first, most time.Duration) time.Duration {
	pause := first
	for ; failures > 1 && pause < most; failures-- {
		pause *= 2
	}
	return min(pause, most)
}

// Jitter makes a pause up to a fifth shorter or longer, by random, which is from
// 0 to 1.
func Jitter(pause time.Duration, random float64) time.Duration {
	return time.Duration(float64(pause) * (1 + jitterShare*(2*random-1)))
}
