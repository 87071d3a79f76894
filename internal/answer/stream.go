// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"errors"
	"io"
	"unsafe"
)

// ErrClosed is the error of Write after Close.
var ErrClosed = errors.New("answer: write after close")

// Stream passes on a text/event-stream answer. It writes an event as soon as its
// last byte has come, and so never the beginning of one that will not end. Without
// placeholders and options the events stay as they are.
//
// The text of an answer comes in fragments on several lanes: choices, content and
// reasoning, tool calls. A placeholder may be cut between any two fragments, so
// each lane holds back an end that may be the beginning of one. When the lane
// ends, an event of its own releases that, in front of the event that ends it.
//
// A Stream buffers at most one event of up to [MaxEvent] bytes. Events that it
// cannot read pass as they are.
type Stream struct {
	out       sink
	restore   restorer
	restoring bool
	hideUsage bool
	expectEnd bool

	frames framer
	event  event
	lanes  lanes
	spare  tail // held back by the part that is being written
	tally  tally
	large  bool // the last event was too large to read
	closed bool
	err    error // of Close
}

// NewStream returns a Stream that writes to w. When p is nil or empty, nothing is
// restored. o may be nil.
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

// HideUsage removes the event with usage and no choices, which
// stream_options.include_usage adds, for a client that did not ask for it. Call it
// before the first Write.
func (s *Stream) HideUsage() { s.hideUsage = true }

// Write takes the next bytes of the answer. It returns the first error of the
// underlying writer, also in all later calls.
func (s *Stream) Write(p []byte) (int, error) {
	if s.closed {
		return 0, ErrClosed
	}
	for rest := p; len(rest) > 0; {
		piece, n, kind := s.frames.next(rest)
		rest = rest[n:]
		s.piece(piece, kind)
	}
	s.out.flush()
	if s.out.err != nil {
		return 0, s.out.err
	}
	return len(p), nil
}

func (s *Stream) piece(piece []byte, kind pieceKind) {
	switch kind {
	case pieceEvent:
		s.pass(piece, false)
	case pieceRaw:
		// It may continue lanes unseen, so the text held back goes first.
		s.releaseAll()
		s.out.append(piece)
		s.large = true
	case pieceLF:
		s.out.append(piece)
	}
}

// pass reads one event and writes it. last: the stream ends behind it, perhaps
// within it.
func (s *Stream) pass(raw []byte, last bool) {
	s.event.reset()
	doc, at, found := s.frames.data(raw)
	read := found && s.event.read(doc, at)
	if last && s.cut() {
		s.releaseAll()
		return
	}
	if read {
		s.large = false
	}
	if last {
		s.event.ends = append(s.event.ends[:0], ending{all: true})
	}
	s.release()
	switch {
	case !read:
		s.out.append(raw)
	case s.hideUsage && s.event.usageOnly:
	default:
		s.rewrite(raw, at)
	}
}

// rewrite writes the event with its parts restored.
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
		s.out.append(raw[from:p.text.start])
		s.part(p, held, raw, at)
		from = p.text.end
	}
	s.out.append(raw[from:])
}

// part writes the restored text of a part and keeps the end that its lane holds
// back.
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

// release writes the text held back by lanes that the event ends. Lanes with text
// in the event release it there.
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

// releaseAll writes the text held back by all lanes.
func (s *Stream) releaseAll() {
	s.event.reset()
	s.event.addEnding(ending{all: true})
	s.release()
}

// WithinEvent reports whether the output ends within an event, because it is too
// large to be held back.
func (s *Stream) WithinEvent() bool { return s.frames.over }

// MemorySize returns the bytes of memory of the Stream's buffers. They are large
// only while a large event arrives, and shrink with the next Write.
func (s *Stream) MemorySize() int {
	const member, part, ending = int(unsafe.Sizeof(member{})), int(unsafe.Sizeof(part{})), int(unsafe.Sizeof(ending{}))
	n := cap(s.frames.buf) + cap(s.frames.joined) + cap(s.out.b) +
		member*cap(s.event.members) + part*cap(s.event.parts) + ending*cap(s.event.ends)
	for _, l := range s.lanes.slots {
		n += int(unsafe.Sizeof(*l)) + cap(l.event)
	}
	return n
}

// Close ends the answer: it writes the bytes held back, reports to the observer
// and wipes every buffer that held a value. It does not close the underlying
// writer. Call it however the answer ended, and before the values of the
// placeholders are wiped. After [ErrCut], what was written ends with a blank line,
// so that an event can follow.
func (s *Stream) Close() error {
	if s.closed {
		return s.err
	}
	s.closed = true
	defer s.out.wipe()
	if rest := s.frames.rest(); len(rest) > 0 {
		s.pass(rest, true)
	} else {
		s.releaseAll()
	}
	cut := s.cut()
	if cut && s.frames.over {
		s.out.append([]byte("\n\n"))
	}
	s.out.flush()
	s.tally.report()
	if s.err = s.out.err; s.err == nil && cut {
		s.err = ErrCut
	}
	return s.err
}

var _ io.WriteCloser = (*Stream)(nil)
