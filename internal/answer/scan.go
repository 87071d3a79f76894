// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"encoding/binary"
	"math/bits"
)

// maxDepth bounds the nesting of an answer. Deeper values pass unread.
const maxDepth = 512

// span is a range of offsets into the bytes being read.
type span struct{ start, end int }

func (s span) empty() bool { return s.end <= s.start }

// cursor walks one complete JSON value in place. It never allocates and does not
// decode: it returns spans. An error is sticky and moves to the end, so that loops
// over members and elements stop.
//
// It is strict about structure, strings and escapes, because splicing relies on
// them. It allows literals such as NaN and invalid UTF-8, which engines send and
// which cannot move a boundary.
type cursor struct {
	b     []byte
	i     int
	depth int
	bad   bool
}

func (c *cursor) fail() {
	c.bad = true
	c.i = len(c.b)
}

// peek skips white space and returns the next byte, 0 at the end.
func (c *cursor) peek() byte {
	for c.i < len(c.b) {
		switch ch := c.b[c.i]; ch {
		case ' ', '\n', '\r', '\t':
			c.i++
		default:
			return ch
		}
	}
	return 0
}

// open enters an object or array by its brackets, and reports whether it has a
// first member or element:
//
//	for ok := c.open('{', '}'); ok; ok = c.more('}') { name := c.key(); ... }
func (c *cursor) open(left, right byte) bool {
	if c.peek() != left || c.depth == maxDepth {
		c.fail()
		return false
	}
	c.i++
	if c.peek() == right {
		c.i++
		return false
	}
	c.depth++
	return true
}

// more reports whether another member or element follows. If not, it leaves the
// object or array.
func (c *cursor) more(right byte) bool {
	switch ch := c.peek(); {
	case ch == ',':
		c.i++
		return true
	case ch == right && !c.bad:
		c.i++
		c.depth--
		return false
	default:
		c.fail()
		return false
	}
}

// key reads a member's name and stops at its value.
func (c *cursor) key() span {
	k := c.text()
	if c.peek() != ':' {
		c.fail()
		return span{}
	}
	c.i++
	return k
}

// bytes returns the raw bytes of a span.
func (c *cursor) bytes(s span) []byte { return c.b[s.start:s.end] }

// text reads a string and returns the span between its quotes.
func (c *cursor) text() span {
	if c.peek() != '"' {
		c.fail()
		return span{}
	}
	start := c.i + 1
	for i := start; ; {
		i = indexSpecial(c.b, i)
		if i == len(c.b) || c.b[i] < 0x20 {
			break
		}
		if c.b[i] == '"' {
			c.i = i + 1
			return span{start, i}
		}
		n := escapeLen(c.b[i:])
		if n == 0 {
			break
		}
		i += n
	}
	c.fail()
	return span{}
}

// skip reads any value.
func (c *cursor) skip() {
	switch c.peek() {
	case '"':
		c.text()
	case '{':
		for ok := c.open('{', '}'); ok; ok = c.more('}') {
			c.key()
			c.skip()
		}
	case '[':
		for ok := c.open('[', ']'); ok; ok = c.more(']') {
			c.skip()
		}
	default:
		c.literal()
	}
}

func (c *cursor) literal() {
	start := c.i
	for c.i < len(c.b) && literalByte(c.b[c.i]) {
		c.i++
	}
	if c.i == start {
		c.fail()
	}
}

// value reads any value and returns its span, quotes and brackets included.
func (c *cursor) value() span {
	c.peek()
	start := c.i
	c.skip()
	if c.bad {
		return span{}
	}
	return span{start, c.i}
}

// integer reads any value and returns a whole number of 32 bits, 0 for anything
// else: an index without sense must not stop a stream.
func (c *cursor) integer() int32 {
	b := c.bytes(c.value())
	negative := len(b) > 0 && b[0] == '-'
	if negative {
		b = b[1:]
	}
	n, ok := digits(b, 1<<31-1)
	if !ok {
		return 0
	}
	if negative {
		n = -n
	}
	return int32(n)
}

// digits reads a number of digits only, up to limit.
func digits(b []byte, limit int) (int, bool) {
	if len(b) == 0 || len(b) > 10 {
		return 0, false
	}
	n := int64(0)
	for _, ch := range b {
		if ch < '0' || ch > '9' {
			return 0, false
		}
		n = n*10 + int64(ch-'0')
	}
	return int(min(n, int64(limit))), n <= int64(limit)
}

func literalByte(ch byte) bool {
	return ch >= '0' && ch <= '9' || ch >= 'a' && ch <= 'z' || ch >= 'A' && ch <= 'Z' ||
		ch == '+' || ch == '-' || ch == '.'
}

// escapeLen returns the length of the escape sequence at the start of b, 0 when it
// is malformed or incomplete.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(b) >= 6 && hexValue(b[2]) < 16 && hexValue(b[3]) < 16 && hexValue(b[4]) < 16 && hexValue(b[5]) < 16 {
			return 6
		}
	}
	return 0
}

// hexValue returns the value of a hexadecimal digit, 16 for any other byte.
func hexValue(ch byte) byte {
	switch {
	case ch >= '0' && ch <= '9':
		return ch - '0'
	case ch >= 'a' && ch <= 'f':
		return ch - 'a' + 10
	case ch >= 'A' && ch <= 'F':
		return ch - 'A' + 10
	}
	return 16
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// indexSpecial returns the index of the first quote, backslash or control character
// at or behind i, len(b) without one. It tests eight bytes at once: the lowest bit
// set is exact, those above it may be carries (Hacker's Delight, 6-1).
func indexSpecial(b []byte, i int) int {
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		q, e := x^('"'*ones), x^('\\'*ones)
		if m := ((q - ones) &^ q) | ((e - ones) &^ e) | ((x - 0x20*ones) &^ x); m&highs != 0 {
			return i + bits.TrailingZeros64(m&highs)>>3
		}
	}
	for ; i < len(b); i++ {
		if ch := b[i]; ch == '"' || ch == '\\' || ch < 0x20 {
			return i
		}
	}
	return i
}

// indexEither returns the index of the first byte at or behind i that equals one or
// two, len(b) without one.
func indexEither(b []byte, i int, one, two byte) int {
	ones1, ones2 := uint64(one)*ones, uint64(two)*ones
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		l, r := x^ones1, x^ones2
		if m := ((l - ones) &^ l) | ((r - ones) &^ r); m&highs != 0 {
			return i + bits.TrailingZeros64(m&highs)>>3
		}
	}
	for ; i < len(b); i++ {
		if b[i] == one || b[i] == two {
			return i
		}
	}
	return i
}
