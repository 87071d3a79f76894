// SPDX-License-Identifier: Apache-2.0

package prompt

import (
	"bytes"
	"unicode/utf8"
)

// The rendition is a stream of bytes in which every segment begins with
// TagSegment and its kind, and every string inside a raw value stands between
// two tagString. A digest of fixed length behind a tagMedia stands for media.
// None of these bytes can occur in UTF-8, so no text can forge a boundary.
const (
	TagSegment = 0xFF
	tagString  = 0xFE
	tagMedia   = 0xFD
)

// chunkSize is how many bytes Render gathers before it hands them on.
const chunkSize = 4096

// Render streams the rendition that is to be hashed, chunk by chunk, with the
// message each chunk belongs to; it stops when yield returns false. A chunk is
// valid only during the call. Nothing is allocated once the document is warm.
//
// Strings are rendered decoded and raw values without insignificant white
// space, so that how a client writes its JSON makes no difference. The stream
// of a conversation is an exact prefix of the stream of the same conversation
// gone on.
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

// renderer gathers small pieces and passes long ones on as they are.
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

// room makes sure that n more bytes fit.
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

// text writes a string's decoded bytes.
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

// raw writes JSON that was checked: strings decoded, the rest as it stands but
// for white space.
func (r *renderer) writeRaw(start, end int) {
	b := r.body
	for i := start; i < end && !r.stopped; {
		switch c := b[i]; c {
		case ' ', '\n', '\t', '\r':
			i++
		case '"':
			end, escaped := closing(b, i+1)
			r.room(1)
			r.buf = append(r.buf, tagString)
			if s := b[i+1 : end]; isMedia(s) {
				r.writeMedia(s)
			} else {
				r.writeText(i+1, end, escaped)
			}
			r.room(1)
			r.buf = append(r.buf, tagString)
			i = end + 1
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
