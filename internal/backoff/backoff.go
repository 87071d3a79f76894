// SPDX-License-Identifier: Apache-2.0

// Package backoff computes pauses between attempts: after each failure in a row
// the pause doubles, up to a limit. Jitter keeps gateways that failed at the same
// moment from trying again at the same moment.
//
// The caller counts the failures and waits; the package holds no state.
package backoff

import "time"

// jitterShare is the largest change that Jitter makes, as a share of the pause.
const jitterShare = 0.2

// Pause returns the pause after so many failures in a row: first after one, then
// twice as long after each further one, at most longest. No failure counts as one.
func Pause(failures int, first, longest time.Duration) time.Duration {
	pause := Next(0, first, longest)
	for ; failures > 1 && pause < longest; failures-- {
		pause = Next(pause, first, longest)
	}
	return pause
}

// Next returns the pause that follows last: twice as long, but at least first and
// at most longest. It suits callers whose first pause depends on the failure.
func Next(last, first, longest time.Duration) time.Duration {
	return min(max(2*last, first), longest)
}

// Jitter makes a pause up to a fifth shorter or longer. random is a random number
// from 0 to 1.
func Jitter(pause time.Duration, random float64) time.Duration {
	return time.Duration(float64(pause) * (1 + jitterShare*(2*random-1)))
}
