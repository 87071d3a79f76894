// SPDX-License-Identifier: Apache-2.0

package answer

import "bytes"

// MaxEvent is the size in bytes of the largest event that is read. Larger ones
// pass as they are.
const MaxEvent = 1 << 20

// maxKept is the size in bytes of the largest buffer that is kept for reuse.
const maxKept = 64 << 10

type pieceKind uint8

const (
	pieceNone  pieceKind = iota // nothing yet: the framer keeps the bytes
	pieceEvent                  // a whole event with its blank line
	pieceRaw                    // a part of an event that is too large to read
	pieceLF                     // the LF of a CRLF, after its CR ended an event
)

// framer cuts a stream into server-sent events, at the same places however its
// bytes arrive. Lines end with LF, CR or CRLF (HTML standard, section 9.2.6); an
// event ends with a blank line. When that line ends with CR, the event is
// complete, and a LF behind it is a piece of its own.
type framer struct {
	buf   []byte // an event that has begun and not ended
	stale bool   // the last piece was buf, which is free now
	scan  scanState
	over  bool // inside an event larger than MaxEvent

	joined []byte // scratch: an event with several data lines
	begun  bool   // past the first event, the only one with a byte order mark
}

// scanState is the position in an event.
type scanState struct {
	inLine bool
	cr     bool // the last byte was a CR, so a LF belongs to it
	inside bool // the event has bytes
}

// next takes the first n bytes of p, which is not empty. The piece is valid until
// the next call.
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

// shrink drops buffers that grew for a large event.
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

// rest returns the incomplete event at the end of the stream.
func (f *framer) rest() []byte {
	if f.stale || f.over {
		return nil
	}
	return f.buf
}

// data finds the data of an event. doc has the length of the event and the data at
// the span, so that offsets into doc are offsets into the event. Between several
// lines of data it has line feeds, which are white space between JSON tokens and
// an error inside them.
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

// join makes doc a copy of the event, unless it is one already, and overwrites the
// bytes between the data up to end and the data of another line.
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

// dataLine returns the value of a line when its field is data.
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
