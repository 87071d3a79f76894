// SPDX-License-Identifier: Apache-2.0

package tokenize

import (
	"errors"
	"io"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/bauxite/caddy-kvaware/internal/sensitive"
)

const (
	// maxDepth bounds the nesting of a JSON value.
	maxDepth = 512
	// maxName is the length of the longest known member name, and some more.
	maxName = 64
	// scanBuffer is the number of bytes of an answer in memory at a time.
	scanBuffer = 16 << 10
)

var (
	errSyntax = errors.New("tokens: not JSON")
	errLong   = errors.New("tokens: longer than allowed")
)

// scanner reads the wanted parts of one JSON value (RFC 8259) from a stream, with a
// buffer of fixed size: an array of millions of numbers never becomes a value of its
// own. After an error it returns zero values only; the error is in err.
type scanner struct {
	src   io.Reader
	left  int64 // bytes that may still be read from src
	buf   []byte
	i     int   // position in buf
	base  int64 // offset of buf's first byte in the stream
	depth int
	name  [maxName]byte
	ended bool
	err   error
}

func newScanner(src io.Reader, limit int64) *scanner {
	return &scanner{src: src, left: limit, buf: sensitive.Make("scanned text", 0, scanBuffer)}
}

// fail keeps the first error. Nothing more can be read then.
func (s *scanner) fail(err error) {
	if s.err == nil {
		s.err = err
	}
	s.i, s.buf, s.ended = 0, s.buf[:0], true
}

// offset returns the place of the next byte in the stream.
func (s *scanner) offset() int64 { return s.base + int64(s.i) }

// fill makes sure that there is a next byte. It returns false at the end.
func (s *scanner) fill() bool {
	for s.i == len(s.buf) {
		if s.ended {
			return false
		}
		s.base += int64(len(s.buf))
		s.i, s.buf = 0, s.buf[:0]
		n, err := s.src.Read(s.buf[:min(int64(cap(s.buf)), s.left+1)])
		s.buf = s.buf[:n]
		if s.left -= int64(n); s.left < 0 {
			s.fail(errLong)
			return false
		}
		if err == io.EOF {
			s.ended = true
		} else if err != nil {
			s.fail(err)
			return false
		}
	}
	return true
}

// next returns the next byte, 0 at the end.
func (s *scanner) next() byte {
	if !s.fill() {
		return 0
	}
	c := s.buf[s.i]
	s.i++
	return c
}

// peek returns the next byte that is no white space without consuming it, 0 at the
// end.
func (s *scanner) peek() byte {
	for s.fill() {
		switch c := s.buf[s.i]; c {
		case ' ', '\t', '\n', '\r':
			s.i++
		case 0:
			s.fail(errSyntax)
		default:
			return c
		}
	}
	return 0
}

// take consumes a byte that must be there, after white space.
func (s *scanner) take(c byte) {
	if s.peek() != c {
		s.fail(errSyntax)
		return
	}
	s.i++
}

// end makes sure that nothing follows.
func (s *scanner) end() {
	if s.peek(); s.err == nil && s.i < len(s.buf) {
		s.fail(errSyntax)
	}
}

// list reads an object or array, and calls element in front of each element.
func (s *scanner) list(open, shut byte, element func()) {
	s.take(open)
	if s.depth++; s.depth > maxDepth {
		s.fail(errSyntax)
	}
	if s.peek() == shut {
		s.i++
		s.depth--
		return
	}
	for s.err == nil {
		element()
		switch c := s.peek(); {
		case s.err != nil:
		case c == ',':
			s.i++
		case c == shut:
			s.i++
			s.depth--
			return
		default:
			s.fail(errSyntax)
		}
	}
}

// array reads an array; element has to read each one.
func (s *scanner) array(element func()) { s.list('[', ']', element) }

// object reads an object; member has to read the value of each member. The name is
// valid until then, and empty when it is longer than maxName.
func (s *scanner) object(member func(name []byte)) {
	s.list('{', '}', func() {
		t := textSink{buf: s.name[:0], room: maxName}
		s.text(&t)
		if t.cut {
			t.buf = nil
		}
		if s.take(':'); s.err == nil {
			member(t.buf)
		}
	})
}

// textSink receives a string's text.
type textSink struct {
	buf  []byte
	room int  // bytes that may still be added
	cut  bool // there were more
	high rune // first half of a UTF-16 pair, 0: none
}

// add appends bytes as long as there is room.
func (t *textSink) add(b []byte) {
	t.flushHigh()
	if len(b) > t.room {
		b, t.cut = b[:t.room], true
	}
	t.room -= len(b)
	t.buf = sensitive.Append("texts of tokens", t.buf, b...)
}

// flushHigh adds U+FFFD for a first half whose second half did not come.
func (t *textSink) flushHigh() {
	if t.high != 0 {
		t.high = 0
		t.rune(utf8.RuneError)
	}
}

func (t *textSink) rune(r rune) {
	var b [utf8.UTFMax]byte
	t.add(b[:utf8.EncodeRune(b[:], r)])
}

// unit adds a character written as \u and four digits.
func (t *textSink) unit(r rune) {
	switch high := t.high; {
	case high != 0 && r >= 0xDC00 && r < 0xE000:
		t.high = 0
		t.rune(utf16.DecodeRune(high, r))
	case r >= 0xD800 && r < 0xDC00:
		t.flushHigh()
		t.high = r
	default:
		t.flushHigh()
		t.rune(r) // U+FFFD for a second half alone
	}
}

// text reads a string and adds its text to t.
func (s *scanner) text(t *textSink) {
	s.take('"')
	for s.fill() {
		if run := s.plain(); len(run) > 0 {
			t.add(run)
			continue
		}
		switch s.next() {
		case '"':
			t.flushHigh()
			return
		case '\\':
			s.escape(t)
		default: // a control character
			s.fail(errSyntax)
		}
	}
	s.fail(errSyntax)
}

// plain consumes the bytes of a string that stand for themselves, as far as they are
// in the buffer.
func (s *scanner) plain() []byte {
	from := s.i
	for s.i < len(s.buf) && s.buf[s.i] != '"' && s.buf[s.i] != '\\' && s.buf[s.i] >= ' ' {
		s.i++
	}
	return s.buf[from:s.i]
}

// escape reads an escape sequence after its backslash.
func (s *scanner) escape(t *textSink) {
	switch c := s.next(); c {
	case '"', '\\', '/':
		t.add([]byte{c})
	case 'b':
		t.add([]byte{'\b'})
	case 'f':
		t.add([]byte{'\f'})
	case 'n':
		t.add([]byte{'\n'})
	case 'r':
		t.add([]byte{'\r'})
	case 't':
		t.add([]byte{'\t'})
	case 'u':
		r := rune(0)
		for range 4 {
			r = r<<4 | s.hex()
		}
		t.unit(r)
	default:
		s.fail(errSyntax)
	}
}

func (s *scanner) hex() rune {
	switch c := s.next(); {
	case c >= '0' && c <= '9':
		return rune(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return rune(c|0x20-'a') + 10
	}
	s.fail(errSyntax)
	return 0
}

// count reads a whole number from 0 to most.
func (s *scanner) count(most uint64) uint64 {
	c := s.peek()
	if c < '0' || c > '9' {
		s.fail(errSyntax)
		return 0
	}
	v, digits := uint64(0), 0
	for s.fill() {
		c := s.buf[s.i]
		if c == '.' || c|0x20 == 'e' {
			s.fail(errSyntax) // 1.0 and 1e0 are numbers, but no counts
			return 0
		}
		if c < '0' || c > '9' {
			break
		}
		if v = v*10 + uint64(c-'0'); v > most || digits > 0 && v < 10 {
			s.fail(errSyntax) // too large, or leading zeros
			return 0
		}
		digits++
		s.i++
	}
	return v
}

// skip reads a value of any kind.
func (s *scanner) skip() {
	switch c := s.peek(); {
	case c == '"':
		s.text(&textSink{})
	case c == '{':
		s.object(func([]byte) { s.skip() })
	case c == '[':
		s.array(s.skip)
	case c == 't':
		s.word("true")
	case c == 'f':
		s.word("false")
	case c == 'n':
		s.word("null")
	default:
		s.number()
	}
}

// word reads a word that must be there.
func (s *scanner) word(want string) {
	for i := range len(want) {
		if s.next() != want[i] {
			s.fail(errSyntax)
			return
		}
	}
}

// null reads a null, if one follows, and reports whether it does.
func (s *scanner) null() bool {
	if s.peek() != 'n' {
		return false
	}
	s.word("null")
	return true
}

// number reads a number of any form.
func (s *scanner) number() {
	if s.at('-') {
		s.i++
	}
	if s.at('0') {
		s.i++
	} else {
		s.digits()
	}
	if s.at('.') {
		s.i++
		s.digits()
	}
	if s.at('e') || s.at('E') {
		s.i++
		if s.at('+') || s.at('-') {
			s.i++
		}
		s.digits()
	}
}

// at reports whether c is the very next byte.
func (s *scanner) at(c byte) bool { return s.fill() && s.buf[s.i] == c }

// digits reads one digit or more.
func (s *scanner) digits() {
	n := 0
	for ; s.fill() && s.buf[s.i] >= '0' && s.buf[s.i] <= '9'; n++ {
		s.i++
	}
	if n == 0 {
		s.fail(errSyntax)
	}
}
