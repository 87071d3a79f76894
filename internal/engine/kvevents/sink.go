// SPDX-License-Identifier: Apache-2.0

package kvevents

// Knowledge is how far what a Sink was told can be relied on.
type Knowledge uint8

// From nothing to all. What is missing decides what absence means: of a block
// that was never applied, or was removed again.
const (
	// Unknown: the stream is dead, or behind and catching up. What was applied
	// may be gone, and what was not may be there: nothing counts.
	Unknown Knowledge = iota
	// Partial: the stream is live, and what was applied is there. There may be
	// more, from before the part of the history that could be read: that a
	// block was not applied means nothing.
	Partial
	// Complete: what was applied, all since the engine's start or since it
	// cleared its cache, is what the engine holds: other blocks are not there.
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

// Sink is told what one publisher says. Its methods are called from one
// goroutine at a time, and must not call the Set.
//
// A new Sink is Unknown and empty. When a stream dies it becomes Unknown and
// keeps what was applied; Clear comes when another one is there, before
// anything is applied from it.
type Sink interface {
	// Apply is called for each event in the order of the stream; e is only
	// valid until it returns. It reports whether the event could be used: false
	// for an unknown parent or when there is no room. Cleared empties the Sink.
	Apply(e *Event) (indexed bool)
	// Clear is called when nothing is known of the publisher's blocks any more:
	// a new connection, a restart, a gap that could not be closed. What is
	// applied later counts from an empty state, as after Cleared.
	Clear()
	// Known is called when the knowledge changes. Between Unknown and the next
	// Known events are applied that bring the Sink up to date.
	SetKnowledge(k Knowledge)
}
