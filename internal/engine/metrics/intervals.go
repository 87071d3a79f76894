// SPDX-License-Identifier: Apache-2.0

package metrics

import "time"

const (
	// busyInterval is how often an engine is read that gets requests now. A
	// page of metrics costs vLLM's API server some milliseconds.
	busyInterval = 2 * time.Second
	// quietInterval is how often, when none has come for busyFor.
	quietInterval = 10 * time.Second
	busyTime      = 10 * time.Second

	// idleAfter is how long an engine that could get no request is still read.
	idleAfter = time.Minute

	// An engine that does not answer is asked again after goneFirst, then half
	// as often each time, down to every goneMost. One that answers, but tells
	// nothing, after uselessFirst, down to every uselessMost.
	unreachableFirst   = time.Second
	unreachableLongest = 30 * time.Second
	unreadableFirst    = 10 * time.Second
	unreadableLongest  = 5 * time.Minute

	// modelsInterval is how often the list of models is read.
	modelsInterval = 30 * time.Second

	// loadFor is how long a reading of the load counts while no newer one
	// comes: an engine may be too busy to answer.
	loadLifetime = 10 * time.Second

	// lookGap is the least time between two readings that something other
	// than the clock asked for.
	minPollGap = 500 * time.Millisecond
)
