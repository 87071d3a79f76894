// SPDX-License-Identifier: Apache-2.0

package kvevents

// Knowledge grades how far a Sink's events can be relied on.
type Knowledge uint8

// From nothing to all. The knowledge decides the meaning of a block's absence.
const (
	// Unknown: the stream is dead, or behind and catching up. Applied blocks may be
	// gone, and others may be there: nothing counts.
	Unknown Knowledge = iota
	// Partial: the stream is live, and the applied blocks are there. The engine may
	// hold more, from before the history that could be read.
	Partial
	// Complete: all events since the engine's start, or since it cleared its cache,
	// were applied. The engine holds these blocks and no others.
	Complete
)

// String returns unknown, partial or complete.
func (k Knowledge) String() string {
	switch k {
	case Partial:
		return "partial"
	case Complete:
		return "complete"
	}
	return "unknown"
}

// Sink gets the events of one publisher. Its methods are called from one goroutine
// at a time, and must not call the Subscriber.
//
// A new Sink is Unknown and empty. When a stream dies, the Sink becomes Unknown and
// keeps the applied blocks; Clear comes with the next stream, before its events.
type Sink interface {
	// Apply is called for each event in the order of the stream; e is valid until
	// it returns. It returns false if the event could not be used: its parent is
	// unknown, or there is no room. A Cleared event empties the Sink.
	Apply(e *Event) (indexed bool)
	// Clear empties the Sink: after a new connection, a restart, or a gap that could
	// not be closed, nothing is known of the publisher's blocks.
	Clear()
	// SetKnowledge is called when the knowledge changes. After Unknown, events that
	// bring the Sink up to date may come before the next call.
	SetKnowledge(k Knowledge)
}
