// SPDX-License-Identifier: Apache-2.0

package prompt

import (
	"encoding/binary"
	"math/bits"
)

// Constants to test the eight bytes of a word at once (Mycroft's zero-byte test,
// https://graphics.stanford.edu/~seander/bithacks.html#ZeroInWord).
const (
	ones        = 0x0101010101010101
	highs       = 0x8080808080808080
	quotes      = ones * '"'
	backslashes = ones * '\\'
	spaces      = ones * ' '
)

// special sets the high bit of each byte of x that ends a plain ASCII run: quote,
// backslash, control characters and all above 0x7F. Borrows travel up, so only
// the lowest bit is exact.
func special(x uint64) uint64 {
	return (((x ^ quotes) - ones) | ((x ^ backslashes) - ones) | (x - spaces) | x) & highs
}

// scanString returns the index of the quote that closes the string whose first
// byte is b[i]. It checks UTF-8, control characters and escapes.
func scanString(b []byte, i int, lenient bool) (end int, escaped bool, err *Error) {
	for {
		i = scanPlain(b, i)
		if i >= len(b) {
			return i, escaped, ErrSyntax
		}
		switch c := b[i]; {
		case c == '"':
			return i, escaped, nil
		case c == '\\':
			escaped = true
			if i, err = scanEscapes(b, i, lenient); err != nil {
				return i, escaped, err
			}
		case c < ' ':
			return i, escaped, ErrSyntax
		default:
			if i = scanUTF8(b, i); i < 0 {
				return 0, escaped, ErrUTF8
			}
		}
	}
}

// scanPlain returns the index of the first byte at or after i that is not plain
// ASCII inside a string, or len(b).
func scanPlain(b []byte, i int) int {
	for ; i+16 <= len(b); i += 16 {
		w := b[i : i+16 : i+16]
		m := special(binary.LittleEndian.Uint64(w))
		if m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
		m = special(binary.LittleEndian.Uint64(w[8:]))
		if m != 0 {
			return i + 8 + bits.TrailingZeros64(m)>>3
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c == '"' || c == '\\' || c-' ' > 0x7F-' ' {
			return i
		}
	}
	return i
}

// scanUTF8 returns the index behind the run of multi-byte runes at i, or -1 when
// it is not UTF-8 (RFC 3629: no overlong forms, no surrogates, nothing above
// U+10FFFF). Single spaces between words do not end the run.
func scanUTF8(b []byte, i int) int {
	for i+4 <= len(b) {
		x := binary.LittleEndian.Uint32(b[i:])
		switch n := runeLen(x); {
		case n == 2 && x&0xC0E00000 == 0x80C00000 && x&0x1E0000 != 0:
			i += 4 // two runes of two bytes, as in Cyrillic, Greek and Arabic
		case n != 0:
			i += n
		case x&0x80 != 0:
			return -1
		case x&0x80FF != 0x8000|' ':
			return i
		default:
			i++
		}
	}
	for i < len(b) && b[i] >= 0x80 {
		x := uint32(0)
		for k, c := range b[i:] {
			x |= uint32(c) << (8 * k)
		}
		n := runeLen(x)
		if n == 0 {
			return -1
		}
		i += n
	}
	return i
}

// runeLen returns the length of the multi-byte rune whose bytes are in x,
// first byte lowest, or 0 when it is malformed.
func runeLen(x uint32) int {
	switch {
	case x&0xC0E0 == 0x80C0:
		if x&0x1E == 0 { // C0, C1: overlong
			return 0
		}
		return 2
	case x&0xC0C0F0 == 0x8080E0:
		// E0 80..9F is overlong, ED A0..BF are the surrogates.
		if s := x & 0x200F; s == 0 || s == 0x200D {
			return 0
		}
		return 3
	case x&0xC0C0C0F8 == 0x808080F0:
		// F0 80..8F is overlong; F4 90.. and F5..F7 are beyond U+10FFFF.
		hi, lo := x&7, x>>8&0x30
		if hi == 0 && lo == 0 || hi == 4 && lo != 0 || hi > 4 {
			return 0
		}
		return 4
	}
	return 0
}

// notHex is the hexValue of a byte that is no hex digit. It makes a \u value
// invalid at any shift.
const notHex = 1 << 16

var hexValue = func() (t [256]uint32) {
	for i := range t {
		t[i] = notHex
	}
	for i := range 10 {
		t['0'+i] = uint32(i)
	}
	for i := range 6 {
		t['a'+i], t['A'+i] = uint32(10+i), uint32(10+i)
	}
	return t
}()

// shortEscape maps the letter of a two-byte escape to what it stands for.
var shortEscape = [256]byte{
	'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t',
}

// scanEscapes returns the index behind the run of escapes at i.
func scanEscapes(b []byte, i int, lenient bool) (int, *Error) {
	for i < len(b) && b[i] == '\\' {
		if i+1 >= len(b) {
			return i, ErrSyntax
		}
		if shortEscape[b[i+1]] != 0 {
			i += 2
			continue
		}
		_, n, ok := unicodeEscape(b[i:])
		if n == 0 {
			return i, ErrSyntax
		}
		if !ok && !lenient {
			return i, ErrSurrogate
		}
		i += n
	}
	return i, nil
}

// unicodeEscape reads the \uXXXX at the start of b, two of them when they are
// a surrogate pair. n is its length, 0 when it is malformed; ok is false for
// half a pair, which decodes to U+FFFD.
func unicodeEscape(b []byte) (r rune, n int, ok bool) {
	hi := hex4(b)
	switch {
	case hi >= notHex:
		return 0, 0, false
	case hi < 0xD800 || hi > 0xDFFF:
		return rune(hi), 6, true
	case hi < 0xDC00 && len(b) >= 12:
		if lo := hex4(b[6:]); lo >= 0xDC00 && lo <= 0xDFFF {
			return rune(hi-0xD800)<<10 + rune(lo-0xDC00) + 0x10000, 12, true
		}
	}
	return '\uFFFD', 6, false
}

// hex4 returns the value of the \uXXXX at the start of b, or notHex and more.
func hex4(b []byte) uint32 {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return notHex
	}
	return hexValue[b[2]]<<12 | hexValue[b[3]]<<8 | hexValue[b[4]]<<4 | hexValue[b[5]]
}
