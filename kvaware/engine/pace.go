// SPDX-License-Identifier: Apache-2.0

package engine

import "time"

const (
	// busyInterval is how often an engine is read that gets requests now. A
	// page of metrics costs vLLM's API server some milliseconds.
	busyInterval = 2 * time.Second
	// quietInterval is how often, when none has come for busyFor.
	quietInterval = 10 * time.Second
	busyFor       = 10 * time.Second

	// idleAfter is how long an engine that could get no request is still read.
	idleAfter = time.Minute

	// An engine that does not answer is asked again after goneFirst, then half
	// as often each time, down to every goneMost. One that answers, but tells
	// nothing, after uselessFirst, down to every uselessMost.
	goneFirst    = time.Second
	goneMost     = 30 * time.Second
	uselessFirst = 10 * time.Second
	uselessMost  = 5 * time.Minute

	// modelsInterval is how often the list of models is read.
	modelsInterval = 30 * time.Second

	// loadFor is how long a reading of the load counts while no newer one
	// comes: an engine may be too busy to answer.
	loadFor = 10 * time.Second

	// lookGap is the least time between two readings that something other
	// than the clock asked for.
	lookGap = 500 * time.Millisecond

	// jitterShare is by which share a pause is made longer or shorter, so that
	// several gateways do not ask in step.
	jitterShare = 0.2
)

// backoff is the pause after so many failures in a row, at least one.
func backoff(failures int, first, most time.Duration) time.Duration {
	pause := first
	for ; failures > 1 && pause < most; failures-- {
		pause *= 2
	}
	return min(pause, most)
}

// jitter varies a pause by random, from 0 to 1.
func jitter(pause time.Duration, random float64) time.Duration {
	return time.Duration(float64(pause) * (1 + jitterShare*(2*random-1)))
}
