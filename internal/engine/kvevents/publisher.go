// SPDX-License-Identifier: Apache-2.0

package kvevents

import "time"

// Publisher is a source of KV events: one data-parallel rank of one engine.
type Publisher struct {
	Upstream string // the address that requests for the engine are sent to, host:port
	Rank     int    // of the data-parallel engine core, from 0
	Events   string // host:port where it publishes; empty: it connects to a Listener
	Replay   string // host:port where past batches can be read; empty: nowhere
}

// State describes one publisher, as its Subscriber knows it.
type State struct {
	Publisher Publisher
	Connected bool          // there is a connection with its live stream
	Knowledge Knowledge     // of its Sink
	Lag       time.Duration // between assembling the last live batch, by the engine's clock, and applying it
	Last      time.Time     // when the last live batch was applied; zero: never

	Batches   uint64 // applied, live or replayed
	Events    uint64 // readable events in these batches
	Unindexed uint64 // of these, the events that the Sink could not use
	Malformed uint64 // unreadable messages, batches and events
	Gaps      uint64 // gaps, found by sequence numbers or after silence
	Losses    uint64 // gaps that could not be closed, so that all was dropped
	Replays   uint64 // replays that were whole
	Restarts  uint64 // restarts, and connections after the first: all is learned anew

	Failure error // of connecting or of reading history, with a fixed text; nil: none
}
