// SPDX-License-Identifier: Apache-2.0

package kvevents

import "time"

// Publisher is a source of KV events: one data-parallel rank of one engine.
type Publisher struct {
	Upstream string // the address that requests for the engine are sent to, host:port
	Rank     int    // of the data-parallel engine core, from 0
	Events   string // host:port where it publishes; empty: it connects to a Listener
	Replay   string // host:port where it can be asked for what it has published; empty: nowhere
}

// State is what a Subscriber knows of one publisher.
type State struct {
	Publisher Publisher
	Connected bool          // there is a connection with its live stream
	Knowledge Knowledge     // what its Sink is told
	Lag       time.Duration // from when the engine assembled the last live batch until it was applied; wrong by as much as its clock is
	Last      time.Time     // when the last live batch was applied; zero: never

	Batches   uint64 // applied, live or replayed
	Events    uint64 // in these that could be read
	Unindexed uint64 // of these that the Sink could not use
	Malformed uint64 // messages, batches and events that could not be read
	Gaps      uint64 // times that batches were missing, seen by their numbers or after silence
	Losses    uint64 // of these that were not closed: what was known was dropped
	Replays   uint64 // times that history was asked for and came
	Restarts  uint64 // new streams, and first connections: times that all had to be learned anew

	Failure error // why there is no connection, or why history could not be read; its text is fixed. nil: none
}
