// SPDX-License-Identifier: Apache-2.0

package kvevents

import "time"

// position is how far a stream was followed. Batches are numbered from 0 (vLLM,
// SGLang) or 1 (llm-d's simulator) in each life of a publisher.
type position struct {
	started bool   // something was applied, or passed by
	last    uint64 // its number

	receivedLive bool   // something came over this connection
	lastLive     uint64 // its number

	// complete: everything since the publisher's start, or since it cleared
	// its cache, was applied.
	complete bool
	// stale: there is more, which could not be read and is not told apart by
	// a gap yet.
	stale      bool
	replayedAt time.Time // when history was last read
}

// step is what a live batch's number means.
type step uint8

const (
	next      step = iota // the one that is due
	duplicate             // history had it already
	start                 // the first that is known of
	gap                   // others are missing before it
	restart               // counting began anew
)

// live judges the number of a batch of the live stream, which is in order. So
// a number that is not above the one before it is of another life. The first
// of a connection can be one that history had, but not long after that was read.
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

// wanted is the number of the next batch to ask for.
func (p *position) wanted() uint64 {
	if !p.started {
		return 0
	}
	return p.last + 1
}

// reach notes that a batch was applied.
func (p *position) advance(seq uint64) { p.started, p.last = true, seq }

// forget starts over: nothing is known, and what was heard is of no other life.
func (p *position) reset() { p.started, p.last, p.complete, p.stale = false, 0, false, false }

// first reports whether a number can be that of a publisher's first batch. The
// few who count from 1 cannot be told from those whose batch 0 is missing, but
// where history is kept nothing can be missing before what it starts with.
func isFirst(seq uint64, history bool) bool { return seq == 0 || history && seq == 1 }

// knowledge is what is known when no batch that is missing is asked for now.
func (p *position) knowledge() Knowledge {
	switch {
	case p.stale:
		return Unknown
	case p.complete:
		return Complete
	}
	return Partial
}
