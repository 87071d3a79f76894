// SPDX-License-Identifier: Apache-2.0

package prompt

import (
	"bytes"
	"unicode/utf8"

	"github.com/bauxite/caddy-kvaware/internal/sensitive"
)

// checkpointEvery is after how many decoded bytes, at least, Decoded notes the
// raw offset. Finding the raw offset of a decoded one re-reads at most about
// six times as many raw bytes.
const checkpointEvery = 256

// checkpoint says that the decoded byte dec stands at raw offset raw.
type checkpoint struct{ dec, raw uint32 }

// Decoded is the text of one JSON string together with the way back from its
// offsets to those of the request body. Its memory is reused by the next
// Decode. The zero value is ready.
type Decoded struct {
	// Bytes is the decoded text: the body itself when the string has no
	// escapes, so it must not be written to.
	Bytes []byte

	src     []byte // what was decoded: the body, or the outer text's bytes
	start   int    // offset of the string in src
	escaped bool
	marks   []checkpoint
	buf     []byte
	outer   *Decoded // the text src is the Bytes of; nil: src is the body
}

// Decode sets d to the text of t in body.
func (t Text) Decode(body []byte, d *Decoded) {
	d.decode(body, t, nil)
}

// DecodeInside sets d to the text of t, which was found in outer.Bytes (JSON in
// a JSON string, see Cursor). Span then leads all the way back to the body. It
// holds as long as outer is not used for another text.
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
	d.buf = sensitive.Grow("decoded text", d.buf[:0], len(raw)) // an escape is longer than what it stands for
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

// mark notes that the next decoded byte comes from raw offset i, now and then.
func (d *Decoded) mark(i int) {
	last := uint32(0)
	if n := len(d.marks); n > 0 {
		last = d.marks[n-1].dec
	}
	if uint32(len(d.buf))-last >= checkpointEvery {
		d.marks = append(d.marks, checkpoint{uint32(len(d.buf)), uint32(i)})
	}
}

// escape decodes the escape at the start of b, which begins with a backslash.
// In a text that was never checked, what is no escape stands for itself.
func escape(b []byte) (rune, int) {
	if len(b) > 1 && shortEscape[b[1]] != 0 {
		return rune(shortEscape[b[1]]), 2
	}
	if r, n, _ := unicodeEscape(b); n > 0 {
		return r, n
	}
	return '\\', 1
}

// appendUnescaped appends the text of a checked raw string to dst, an arena.
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

// Span returns the raw range in the request body that the decoded range
// [start, end) came from. It covers whole escapes: replacing it by text that
// needs no escaping leaves the body well-formed. It panics when the range is
// not inside Bytes. An empty range gives an empty raw one.
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

// locate returns the raw range, relative to the string, of the byte or escape
// that decoded byte dec came from.
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

// checkpoint returns the last noted pair at or before decoded offset dec.
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

// Wipe overwrites the decoded copy and lets go of everything else d refers to.
func (d *Decoded) Wipe() {
	sensitive.Wipe(d.buf)
	*d = Decoded{buf: d.buf[:0], marks: d.marks[:0]}
}

// Footprint returns how many bytes of memory d keeps between texts.
func (d *Decoded) MemorySize() int { return cap(d.buf) + 8*cap(d.marks) }
