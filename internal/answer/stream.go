// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"errors"
	"io"
	"unsafe"
)

// ErrClosed is what Write returns after Close.
var ErrClosed = errors.New("answer: write after close")

// Stream passes on a text/event-stream answer. An event is written as soon as
// its last byte was, whatever the pieces it comes in; without placeholders and
// options every Write is passed on as it is.
//
// The text of an answer comes in fragments on several lanes (choices, content
// and reasoning, tool calls), and a placeholder may be cut anywhere between
// them. So each lane holds back its end while that could be the beginning of a
// placeholder. What a lane still holds when it ends comes out in an event of
// its own in front of the one that ends it.
//
// A Stream buffers at most one event of up to [MaxEvent] bytes. Events that it
// cannot read pass through as they are.
type Stream struct {
	out       sink
	restore   restorer
	restoring bool
	hideUsage bool

	frames framer
	event  event
	lanes  lanes
	spare  tail
	tally  tally
	closed bool
}

// NewStream returns a Stream that writes to w. Without p, or when it is empty,
// nothing is restored; o may be nil.
func NewStream(w io.Writer, p Placeholders, o Observer) *Stream {
	s := &Stream{
		out:       sink{w: w},
		restore:   restorer{placeholders: p},
		restoring: p != nil && p.Len() > 0,
		tally:     tally{observer: o},
	}
	s.event.tally, s.event.restoring = &s.tally, s.restoring
	return s
}

// HideUsage takes the event out that has no choices and only tells the usage:
// what stream_options.include_usage adds, for when the client did not ask for
// it. Call it before the first Write.
func (s *Stream) HideUsage() { s.hideUsage = true }

// Write takes the next bytes of the answer. An error is the first one of the
// underlying writer, and final.
func (s *Stream) Write(p []byte) (int, error) {
	if s.closed {
		return 0, ErrClosed
	}
	for rest := p; len(rest) > 0; {
		piece, n, kind := s.frames.next(rest)
		rest = rest[n:]
		s.piece(piece, kind)
	}
	if s.verbatim() && s.out.err == nil {
		s.out.write(p)
	}
	s.out.flush()
	if s.out.err != nil {
		return 0, s.out.err
	}
	return len(p), nil
}

// verbatim tells that all bytes leave as they come, so that events need only
// be looked at.
func (s *Stream) verbatim() bool { return !s.restoring && !s.hideUsage }

func (s *Stream) piece(piece []byte, kind pieceKind) {
	switch kind {
	case pieceEvent:
		s.pass(piece, false)
	case pieceRaw:
		// It may continue lanes in ways not seen: what is held goes first.
		s.releaseAll()
		s.append(piece)
	case pieceLF:
		s.append(piece)
	}
}

// append writes on what was not read, or read and not changed.
func (s *Stream) append(p []byte) {
	if !s.verbatim() {
		s.out.append(p)
	}
}

// pass reads one event and writes it on; last: nothing comes behind it.
func (s *Stream) pass(raw []byte, last bool) {
	s.event.reset()
	doc, at, found := s.frames.data(raw)
	read := found && s.event.read(doc, at)
	if last {
		s.event.ends = append(s.event.ends[:0], ending{all: true})
	}
	s.release()
	switch {
	case !read:
		s.append(raw)
	case s.hideUsage && s.event.usageOnly:
	default:
		s.rewrite(raw, at)
	}
}

// rewrite writes the event at hand with its parts restored.
func (s *Stream) rewrite(raw []byte, at span) {
	from := 0
	for i := range s.event.parts {
		p := &s.event.parts[i]
		var held *lane
		if p.lane {
			held = s.lanes.find(p.key)
		}
		if held == nil && !mayRestore(s.event.bytes(p.text)) {
			continue
		}
		s.append(raw[from:p.text.start])
		s.part(p, held, raw, at)
		from = p.text.end
	}
	s.append(raw[from:])
}

// part writes the restored text of a part and keeps what its lane holds back.
func (s *Stream) part(p *part, held *lane, raw []byte, at span) {
	text := s.event.bytes(p.text)
	final := !p.lane || s.event.ended(p.key) || len(raw) > maxTemplate || held == nil && s.lanes.full()
	if held != nil {
		s.restore.feed(&s.out, &held.held, text, final, p.nested)
		if held.held.n == 0 {
			s.lanes.drop(held)
			return
		}
	} else {
		s.restore.feed(&s.out, &s.spare, text, final, p.nested)
		if s.spare.n == 0 {
			return
		}
		held = s.lanes.take(p.key)
		held.held.hold(s.spare.bytes())
		s.spare.n = 0
	}
	held.template(&s.event, raw, at, p)
}

// release writes what the lanes that the event at hand ends hold back, but for
// those that have text in it: they end there.
func (s *Stream) release() {
	if s.lanes.used == 0 || len(s.event.ends) == 0 {
		return
	}
	for _, l := range s.lanes.slots {
		if !l.used || !s.event.ended(l.key) || s.event.has(l.key) {
			continue
		}
		s.out.append(l.event[:l.at])
		s.out.append(l.held.bytes())
		s.out.append(l.event[l.at:])
		s.lanes.drop(l)
	}
}

// releaseAll writes what all lanes hold back, with no event at hand.
func (s *Stream) releaseAll() {
	s.event.reset()
	s.event.addEnding(ending{all: true})
	s.release()
}

// Footprint is how many bytes of memory the Stream's buffers take: little, but
// while a large event is coming in. Some of it comes back with the Write after.
func (s *Stream) MemorySize() int {
	const member, part, ending = int(unsafe.Sizeof(member{})), int(unsafe.Sizeof(part{})), int(unsafe.Sizeof(ending{}))
	n := cap(s.frames.buf) + cap(s.frames.joined) + cap(s.out.b) +
		member*cap(s.event.members) + part*cap(s.event.parts) + ending*cap(s.event.ends)
	for _, l := range s.lanes.slots {
		n += int(unsafe.Sizeof(*l)) + cap(l.event)
	}
	return n
}

// Close ends the answer: it writes what is held back, reports to the observer
// what was seen, and clears every buffer that held a value. It does not close
// the underlying writer. It must be called however the answer ended, before
// the placeholders' values go away.
func (s *Stream) Close() error {
	if s.closed {
		return s.out.err
	}
	s.closed = true
	defer s.out.wipe()
	if rest := s.frames.rest(); len(rest) > 0 {
		s.pass(rest, true)
	} else {
		s.releaseAll()
	}
	s.out.flush()
	s.tally.report()
	return s.out.err
}

var _ io.WriteCloser = (*Stream)(nil)
