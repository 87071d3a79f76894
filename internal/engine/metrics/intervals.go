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

	// A list of at most fewModels is read with every poll, so that a model that
	// comes or goes is known at once. A longer one, which takes longer to read, is
	// read every modelsInterval. When a request meets an answer that contradicts
	// it, either is read soon, but no sooner than minModelsGap after the last time.
	fewModels      = 64
	modelsInterval = 30 * time.Second
	minModelsGap   = 2 * time.Second

	// loadLifetime is the time for which the last load counts when no newer one
	// comes: an engine may be too busy to answer.
	loadLifetime = 10 * time.Second

	// minPollGap lies at least between two polls, whatever asks for the second.
	minPollGap = 500 * time.Millisecond
)
