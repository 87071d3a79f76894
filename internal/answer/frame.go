// SPDX-License-Identifier: Apache-2.0

package answer

import "bytes"

// MaxEvent is the size in bytes up to which an event of a stream is read.
// A larger one passes through untouched.
const MaxEvent = 1 << 20

// maxKept is the largest buffer of events that is used again, in bytes.
const maxKept = 64 << 10

type pieceKind uint8

const (
	pieceNone  pieceKind = iota // kept until more comes
	pieceEvent                  // a whole event, its blank line included
	pieceRaw                    // a part of an event that is too large to be read
	pieceLF                     // the LF of a CRLF whose CR has ended an event
)

// framer cuts a stream of server-sent events into events, at the same places
// however its bytes arrive. Lines end with LF, CR or CRLF (HTML standard,
// section 9.2.6); an event ends with a blank line. When that line ends with CR
// the event is complete at once: a LF that follows is passed on by itself.
type framer struct {
	buf   []byte // an event that has begun and not ended
	stale bool   // buf was handed out and is free
	scan  scanState
	over  bool // in an event that is larger than MaxEvent

	joined []byte // scratch: an event with several data lines
	begun  bool   // the first event is past: no byte order mark any more
}

// scanState is where in an event the bytes seen so far end.
type scanState struct {
	inLine bool
	cr     bool // the last byte was a CR: a LF would belong to it
	inside bool // the event has bytes
}

// next takes n bytes from the beginning of p, which is not empty. The piece is
// valid until the next call.
func (f *framer) next(p []byte) (piece []byte, n int, kind pieceKind) {
	if f.stale {
		f.buf, f.stale = f.buf[:0], false
		f.shrink()
	}
	before := f.scan
	if f.scan.cr && !f.scan.inside && p[0] == '\n' {
		f.scan.cr = false
		return p[:1], 1, pieceLF
	}
	n, ended := f.scan.advance(p)
	switch {
	case f.over:
		f.over = !ended
		return p[:n], n, pieceRaw
	case len(f.buf)+n > MaxEvent:
		f.over = true
		if len(f.buf) > 0 {
			f.scan, f.stale = before, true
			return f.buf, 0, pieceRaw
		}
		f.over = !ended
		return p[:n], n, pieceRaw
	case !ended:
		f.buf = append(f.buf, p[:n]...)
		return nil, n, pieceNone
	case len(f.buf) > 0:
		f.buf = append(f.buf, p[:n]...)
		f.stale = true
		return f.buf, n, pieceEvent
	}
	return p[:n], n, pieceEvent
}

// shrink lets go of buffers that one large event has made grow.
func (f *framer) shrink() {
	if cap(f.buf) > maxKept {
		f.buf = nil
	}
	if cap(f.joined) > maxKept {
		f.joined = nil
	}
}

// advance moves over p to the end of the event or of p.
func (s *scanState) advance(p []byte) (n int, ended bool) {
	i := 0
	if s.cr && p[0] == '\n' {
		i = 1
	}
	s.cr, s.inside = false, true
	for i < len(p) {
		if !s.inLine && (p[i] == '\n' || p[i] == '\r') {
			*s = scanState{cr: p[i] == '\r'}
			return i + 1, true
		}
		i = indexEither(p, i, '\n', '\r')
		s.inLine = i == len(p)
		if s.inLine {
			break
		}
		i++
		if p[i-1] == '\r' {
			s.cr = i == len(p)
			if !s.cr && p[i] == '\n' {
				i++
			}
		}
	}
	return len(p), false
}

// rest returns an event that has begun and not ended, for the end of the
// stream.
func (f *framer) rest() []byte {
	if f.stale || f.over {
		return nil
	}
	return f.buf
}

// data finds the data of an event. doc is as long as the event and has the
// data between the span's offsets; when the data is on several lines, what
// stands between them is overwritten with line feeds: white space between JSON
// tokens, an error inside them. So offsets into doc are offsets into the event.
func (f *framer) data(event []byte) (doc []byte, at span, found bool) {
	i := 0
	if !f.begun {
		f.begun = true
		if bytes.HasPrefix(event, []byte("\xEF\xBB\xBF")) {
			i = 3
		}
	}
	doc = event
	for i < len(event) {
		end := indexEither(event, i, '\n', '\r')
		if content, ok := dataLine(event, i, end); ok {
			if !found {
				at, found = content, true
			} else {
				doc = f.join(doc, event, at.end, content)
				at.end = content.end
			}
		}
		i = end + 1
	}
	return doc, at, found
}

// join makes doc a copy of the event, if it is none yet, and overwrites what
// stands between the data up to end and the data of another line.
func (f *framer) join(doc, event []byte, end int, content span) []byte {
	if &doc[0] == &event[0] {
		f.joined = append(f.joined[:0], event...)
		doc = f.joined
	}
	for i := end; i < content.start; i++ {
		doc[i] = '\n'
	}
	return doc
}

// dataLine returns the value of the line between start and end when its field
// is data.
func dataLine(event []byte, start, end int) (span, bool) {
	line := event[start:end]
	if !bytes.HasPrefix(line, []byte("data")) {
		return span{}, false
	}
	switch {
	case len(line) == 4:
		return span{end, end}, true
	case line[4] != ':':
		return span{}, false
	case len(line) > 5 && line[5] == ' ':
		return span{start + 6, end}, true
	}
	return span{start + 5, end}, true
}
