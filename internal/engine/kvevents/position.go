// SPDX-License-Identifier: Apache-2.0

package kvevents

import "time"

// position is the place in a stream up to which it was followed. Each process of a
// publisher numbers its batches from 0 (vLLM, SGLang) or 1 (llm-d's simulator).
type position struct {
	started bool   // last is set
	last    uint64 // number of the last batch that was applied or skipped

	receivedLive bool   // lastLive is set
	lastLive     uint64 // number of the last live batch of this connection

	// complete: all batches since the publisher's start, or since it cleared its
	// cache, were applied.
	complete bool
	// stale: further batches exist that could not be read, and no gap shows them
	// yet.
	stale      bool
	replayedAt time.Time // when history was last read
}

// step is the meaning of a live batch's number.
type step uint8

const (
	next      step = iota // follows the last one
	duplicate             // history had it already
	start                 // the first that is known
	gap                   // others are missing before it
	restart               // numbering began anew
)

// classify returns the meaning of a live batch's number. The live stream is in
// order, so a number that does not grow is of another process. The first number
// of a connection may be one that history had, but only shortly after the replay.
func (p *position) classify(seq uint64, now time.Time) step {
	again := p.receivedLive && seq <= p.lastLive ||
		!p.receivedLive && p.started && seq <= p.last && now.Sub(p.replayedAt) > replayOverlap
	p.receivedLive, p.lastLive = true, seq
	switch {
	case again:
		return restart
	case !p.started:
		return start
	case seq <= p.last:
		return duplicate
	case seq-p.last == 1:
		return next
	}
	return gap
}

// wanted returns the number of the next batch to ask for.
func (p *position) wanted() uint64 {
	if !p.started {
		return 0
	}
	return p.last + 1
}

// advance notes that a batch was applied.
func (p *position) advance(seq uint64) { p.started, p.last = true, seq }

// reset starts over with an unknown position in the same process.
func (p *position) reset() { p.started, p.last, p.complete, p.stale = false, 0, false, false }

// isFirst reports whether a number can be that of a publisher's first batch. Live,
// 1 may also mean that batch 0 is missing; a history misses nothing before its
// first batch.
func isFirst(seq uint64, history bool) bool { return seq == 0 || history && seq == 1 }

// knowledge returns the knowledge while no replay is under way.
func (p *position) knowledge() Knowledge {
	switch {
	case p.stale:
		return Unknown
	case p.complete:
		return Complete
	}
	return Partial
}
