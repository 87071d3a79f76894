// SPDX-License-Identifier: Apache-2.0

package prompt

import (
	"bytes"
	"unicode/utf8"

	"github.com/bauxite/caddy-kvaware/internal/sensitive"
)

// checkpointEvery is the least number of decoded bytes between two checkpoints.
// A lookup reads at most about six times as many raw bytes again.
const checkpointEvery = 256

// checkpoint maps the offset of a decoded byte to its raw offset.
type checkpoint struct{ dec, raw uint32 }

// Decoded is the text of one JSON string, and maps its offsets back to those of
// the request body. The next Decode reuses its memory. The zero value is ready.
type Decoded struct {
	// Bytes is the decoded text. Do not write to it: without escapes it is part
	// of the body.
	Bytes []byte

	src     []byte // the body, or outer.Bytes
	start   int    // offset of the string in src
	escaped bool
	marks   []checkpoint
	buf     []byte
	outer   *Decoded // nil: src is the body
}

// Decode sets d to the text t of body.
func (t Text) Decode(body []byte, d *Decoded) {
	d.decode(body, t, nil)
}

// DecodeInside sets d to the text t of outer.Bytes, which is JSON in a JSON
// string: see Cursor. Span leads all the way back to the body, until outer is
// used for another text.
func (t Text) DecodeInside(outer, d *Decoded) {
	d.decode(outer.Bytes, t, outer)
}

func (d *Decoded) decode(src []byte, t Text, outer *Decoded) {
	d.src, d.start, d.escaped, d.outer = src, t.Start, t.Escaped, outer
	d.marks = d.marks[:0]
	raw := src[t.Start:t.End]
	if !t.Escaped {
		d.Bytes = raw
		return
	}
	d.buf = sensitive.Grow("decoded text", d.buf[:0], len(raw)) // decoding never lengthens
	for i := 0; i < len(raw); {
		plain := bytes.IndexByte(raw[i:], '\\')
		if plain < 0 {
			d.buf = append(d.buf, raw[i:]...)
			break
		}
		d.buf = append(d.buf, raw[i:i+plain]...)
		i += plain
		for i < len(raw) && raw[i] == '\\' {
			d.mark(i)
			r, n := escape(raw[i:])
			d.buf = utf8.AppendRune(d.buf, r)
			i += n
		}
	}
	d.Bytes = d.buf
}

// mark adds a checkpoint for the next decoded byte, at raw offset i, when the
// last one is far enough behind.
func (d *Decoded) mark(i int) {
	last := uint32(0)
	if n := len(d.marks); n > 0 {
		last = d.marks[n-1].dec
	}
	if uint32(len(d.buf))-last >= checkpointEvery {
		d.marks = append(d.marks, checkpoint{uint32(len(d.buf)), uint32(i)})
	}
}

// escape decodes the escape at the start of b, which begins with a backslash. A
// malformed one, in a text that was not checked, is a backslash.
func escape(b []byte) (rune, int) {
	if len(b) > 1 && shortEscape[b[1]] != 0 {
		return rune(shortEscape[b[1]]), 2
	}
	if r, n, _ := unicodeEscape(b); n > 0 {
		return r, n
	}
	return '\\', 1
}

// appendUnescaped appends the text of a checked raw string to dst.
func appendUnescaped(dst, raw []byte) []byte {
	dst = sensitive.Grow("decoded names", dst, len(raw))
	for len(raw) > 0 {
		if raw[0] == '\\' {
			r, n := escape(raw)
			dst = utf8.AppendRune(dst, r)
			raw = raw[n:]
			continue
		}
		n := bytes.IndexByte(raw, '\\')
		if n < 0 {
			n = len(raw)
		}
		dst = append(dst, raw[:n]...)
		raw = raw[n:]
	}
	return dst
}

// Span returns the raw range in the request body of the decoded range
// [start, end). It covers whole escapes, so that the body stays well-formed when
// the range is replaced by text without special characters. An empty range
// gives an empty one. Span panics when the range is not inside Bytes.
func (d *Decoded) Span(start, end int) (rawStart, rawEnd int) {
	if start < 0 || end < start || end > len(d.Bytes) {
		panic("prompt: span outside of the decoded text")
	}
	if d.escaped {
		s, _ := d.locate(start)
		if start == end {
			start, end = s, s
		} else {
			_, e := d.locate(end - 1)
			start, end = s, e
		}
	}
	start, end = d.start+start, d.start+end
	if d.outer != nil {
		return d.outer.Span(start, end)
	}
	return start, end
}

// locate returns the raw range of the byte or escape behind decoded byte dec,
// relative to the string.
func (d *Decoded) locate(dec int) (start, end int) {
	raw := d.src[d.start:]
	at, i := d.checkpoint(dec)
	for at < dec {
		plain := bytes.IndexByte(raw[i:i+dec-at], '\\')
		if plain < 0 {
			i += dec - at
			break
		}
		i, at = i+plain, at+plain
		r, n := escape(raw[i:])
		if at+utf8.RuneLen(r) > dec {
			return i, i + n
		}
		i, at = i+n, at+utf8.RuneLen(r)
	}
	if dec < len(d.Bytes) && raw[i] == '\\' {
		_, n := escape(raw[i:])
		return i, i + n
	}
	return i, i + 1
}

// checkpoint returns the last checkpoint at or before decoded offset dec.
func (d *Decoded) checkpoint(dec int) (at, raw int) {
	lo, hi := 0, len(d.marks)
	for lo < hi {
		if mid := (lo + hi) / 2; int(d.marks[mid].dec) <= dec {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 {
		return 0, 0
	}
	return int(d.marks[lo-1].dec), int(d.marks[lo-1].raw)
}

// Wipe zeroes the decoded copy and drops all other references.
func (d *Decoded) Wipe() {
	sensitive.Wipe(d.buf)
	*d = Decoded{buf: d.buf[:0], marks: d.marks[:0]}
}

// MemorySize returns the bytes of memory that d keeps between texts.
func (d *Decoded) MemorySize() int { return cap(d.buf) + 8*cap(d.marks) }
