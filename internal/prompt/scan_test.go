// SPDX-License-Identifier: Apache-2.0

package prompt

import (
	"encoding/binary"
	"strings"
	"testing"
	"unicode/utf8"
)

// scanUTF8 agrees with the standard library on every first and second byte of a
// rune, with all kinds of bytes behind them.
func TestScanUTF8AgainstStandardLibrary(t *testing.T) {
	rest := []byte{0x00, ' ', 'a', 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xD0, 0xED, 0xFF}
	if testing.Short() {
		rest = []byte{' ', 0x80, 0xBF, 0xC0}
	}
	check := func(s []byte) {
		end := scanUTF8(s, 0)
		if valid := utf8.Valid(s); end < 0 && valid {
			t.Fatalf("% x is refused", s)
		} else if end > len(s) || end >= 0 && !utf8.Valid(s[:end]) {
			t.Fatalf("% x is accepted up to %d", s, end)
		} else if end >= 0 && end < len(s) && s[end] >= 0x80 {
			t.Fatalf("% x stops at %d", s, end)
		}
		// scanUTF8 leaves the bytes behind the run to scanString, which must agree.
		_, _, err := scanString([]byte(string(s)+`"`), 0, false)
		plain := !strings.ContainsAny(string(s), "\x00\"\\") && utf8.Valid(s)
		for _, c := range s {
			plain = plain && c >= ' '
		}
		if (err == nil) != plain {
			t.Fatalf("% x: %v", s, err)
		}
	}
	for b0 := 0x80; b0 < 0x100; b0++ {
		for b1 := range 0x100 {
			if b1 == '"' || b1 == '\\' {
				continue
			}
			check([]byte{byte(b0)})
			check([]byte{byte(b0), byte(b1)})
			for _, b2 := range rest {
				check([]byte{byte(b0), byte(b1), b2})
				for _, b3 := range rest {
					check([]byte{byte(b0), byte(b1), b2, b3})
					check([]byte{byte(b0), byte(b1), b2, b3, ' ', 0xC3, 0xA9, 'x'})
				}
			}
		}
	}
}

// The lowest bit of special is exact for all bytes above it.
func TestSpecial(t *testing.T) {
	stops := func(c byte) bool { return c == '"' || c == '\\' || c < ' ' || c >= 0x80 }
	for at := range 8 {
		for c := range 0x100 {
			for other := range 0x100 {
				w := [8]byte{'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a'}
				w[at] = byte(c)
				for above := at + 1; above < 8; above++ {
					w[above] = byte(other)
				}
				want := 8
				for i := range w {
					if stops(w[i]) {
						want = i
						break
					}
				}
				got := scanPlain(append(w[:], strings.Repeat("\"", 16)...), 0)
				if got != want || (special(binary.LittleEndian.Uint64(w[:])) == 0) != (want == 8) {
					t.Fatalf("% x stops at %d, want %d", w, got, want)
				}
			}
		}
	}
}

func TestUnicodeEscape(t *testing.T) {
	for s, want := range map[string]struct {
		r  rune
		n  int
		ok bool
	}{
		`\u0041`:       {'A', 6, true},
		`\u00e9x`:      {'é', 6, true},
		`\uFfFf`:       {0xFFFF, 6, true},
		`\ud83d\ude00`: {'😀', 12, true},
		`\uD800\uDC00`: {0x10000, 12, true},
		`\udbff\udfff`: {0x10FFFF, 12, true},
		`\ud83d`:       {utf8.RuneError, 6, false},
		`\ud83d\u0041`: {utf8.RuneError, 6, false},
		`\ud83d\ud83d`: {utf8.RuneError, 6, false},
		`\ude00\ud83d`: {utf8.RuneError, 6, false},
		`\ud83d\ude0`:  {utf8.RuneError, 6, false},
		`\u004`:        {0, 0, false},
		`\u00g1`:       {0, 0, false},
		`\ug000`:       {0, 0, false},
		`\U0041`:       {0, 0, false},
		`\x`:           {0, 0, false},
	} {
		r, n, ok := unicodeEscape([]byte(s))
		if r != want.r || n != want.n || ok != want.ok {
			t.Errorf("%s: %q %d %v", s, r, n, ok)
		}
	}
}
