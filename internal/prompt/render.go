// SPDX-License-Identifier: Apache-2.0

package prompt

import (
	"bytes"
	"unicode/utf8"
)

// In the rendition every segment begins with TagSegment and its kind, every
// string inside a raw value stands between two tagString, and a digest of fixed
// length follows a tagMedia. These bytes do not occur in UTF-8, so no text can
// forge a boundary.
const (
	TagSegment = 0xFF
	tagString  = 0xFE
	tagMedia   = 0xFD
)

// chunkSize is the number of bytes that Render gathers before it yields them.
const chunkSize = 4096

// Render streams the rendition for hashing: chunk by chunk, each with its message,
// until yield returns false. A chunk is valid only during the call. A document
// that was used before allocates nothing.
//
// Strings are decoded and raw values have no insignificant white space, so that
// the client's spelling of JSON makes no difference. The rendition of a
// conversation is an exact prefix of the rendition of its next turn.
func (d *Document) Render(yield func(message int32, chunk []byte) bool) {
	if cap(d.chunk) < chunkSize {
		d.chunk = make([]byte, 0, chunkSize)
	}
	d.Media = 0
	r := renderer{document: d, buf: d.chunk[:0], yield: yield, body: d.Body}
	for i := range d.Segments {
		s := &d.Segments[i]
		if s.Message != r.message {
			r.flush()
			r.message = s.Message
		}
		if s.Kind != SegmentRest {
			r.room(2)
			r.buf = append(r.buf, TagSegment, byte(s.Kind))
		}
		if s.Kind >= SegmentRaw {
			r.writeRaw(s.Start, s.End)
		} else {
			r.writeText(s.Start, s.End, s.Escaped)
		}
		if r.stopped {
			return
		}
	}
	r.flush()
}

// renderer gathers small pieces and yields long ones as they are.
type renderer struct {
	document *Document
	body     []byte
	buf      []byte
	message  int32
	stopped  bool
	yield    func(int32, []byte) bool
}

func (r *renderer) flush() {
	if len(r.buf) > 0 && !r.stopped {
		r.stopped = !r.yield(r.message, r.buf)
	}
	r.buf = r.buf[:0]
}

// room makes room for n more bytes.
func (r *renderer) room(n int) {
	if len(r.buf)+n > cap(r.buf) {
		r.flush()
	}
}

func (r *renderer) write(b []byte) {
	r.room(len(b))
	if len(b) <= cap(r.buf) {
		r.buf = append(r.buf, b...)
	} else if !r.stopped {
		r.stopped = !r.yield(r.message, b)
	}
}

// writeText writes a string's decoded bytes.
func (r *renderer) writeText(start, end int, escaped bool) {
	raw := r.body[start:end]
	if !escaped {
		r.write(raw)
		return
	}
	for len(raw) > 0 && !r.stopped {
		if raw[0] == '\\' {
			c, n := escape(raw)
			r.room(4)
			r.buf = utf8.AppendRune(r.buf, c)
			raw = raw[n:]
			continue
		}
		n := bytes.IndexByte(raw, '\\')
		if n < 0 {
			n = len(raw)
		}
		r.write(raw[:n])
		raw = raw[n:]
	}
}

// writeRaw writes checked JSON: strings decoded, all else as it is without white
// space.
func (r *renderer) writeRaw(start, end int) {
	b := r.body
	for i := start; i < end && !r.stopped; {
		switch c := b[i]; c {
		case ' ', '\n', '\t', '\r':
			i++
		case '"':
			quote, escaped := closing(b, i+1)
			r.room(1)
			r.buf = append(r.buf, tagString)
			if s := b[i+1 : quote]; isMedia(s) {
				r.writeMedia(s)
			} else {
				r.writeText(i+1, quote, escaped)
			}
			r.room(1)
			r.buf = append(r.buf, tagString)
			i = quote + 1
		default:
			r.room(1)
			r.buf = append(r.buf, c)
			i++
		}
	}
}

// closing returns the index of the quote that ends the checked string at i.
func closing(b []byte, i int) (end int, escaped bool) {
	for {
		i = scanPlain(b, i)
		switch b[i] {
		case '"':
			return i, escaped
		case '\\':
			escaped = true
			i += 2 // the digits of a \uXXXX are plain
		default:
			i++
		}
	}
}
