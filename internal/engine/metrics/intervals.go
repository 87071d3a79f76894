// SPDX-License-Identifier: Apache-2.0

package metrics

import "time"

const (
	// An engine is polled every busyInterval while it gets requests, and every
	// quietInterval when it got none for busyTime. A page of metrics costs
	// vLLM's API server some milliseconds.
	busyInterval  = 2 * time.Second
	quietInterval = 10 * time.Second
	busyTime      = 10 * time.Second

	// idleAfter bounds the polling of an engine that Watch does not name again.
	idleAfter = time.Minute

	// The first and the longest pause after failures in a row (see package
	// backoff): of an engine that does not answer, and of one that answers with
	// something else than metrics, or without a list of models.
	unreachableFirst   = time.Second
	unreachableLongest = 30 * time.Second
	unreadableFirst    = 10 * time.Second
	unreadableLongest  = 5 * time.Minute

	// modelsInterval lies between two readings of the list of models.
	modelsInterval = 30 * time.Second

	// loadLifetime is the time for which the last load counts when no newer one
	// comes: an engine may be too busy to answer.
	loadLifetime = 10 * time.Second

	// minPollGap lies at least between two polls, whatever asks for the second.
	minPollGap = 500 * time.Millisecond
)
