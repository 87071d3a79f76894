// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// TestFormatsLikeALoop compares the index of the table with a loop over it.
func TestFormatsLikeALoop(t *testing.T) {
	s := scanner(t, Options{Recognizers: []string{"secret"}})
	rnd := rand.New(rand.NewPCG(4, 9))
	for range 3000 {
		f := &formats[rnd.IntN(len(formats))]
		text := f.prefix + fakeBody(rnd, f, max(1, f.min-2+rnd.IntN(f.max-f.min+5)))
		longest := 0
		for k := range formats {
			g := &formats[k]
			if !strings.HasPrefix(text, g.prefix) {
				continue
			}
			end := len(g.prefix)
			for end < len(text) && alphabetBits[text[end]]&(1<<g.alpha) != 0 {
				end++
			}
			if n := end - len(g.prefix); n >= g.min && n <= g.max && g.holds([]byte(text[len(g.prefix):end])) {
				longest = max(longest, end)
			}
		}
		got := 0
		for _, sp := range s.Scan([]byte(text), nil) {
			if sp.Start == 0 {
				got = sp.End
			}
		}
		if longest > got {
			t.Fatalf("%s: %q: %d bytes found, want %d", f.vendor, text, got, longest)
		}
	}
}

// alphabetBytes lists the bytes of an alphabet, less those that checks or
// neighbours treat specially.
func alphabetBytes(a alphabet) []byte {
	var list []byte
	for c := range 256 {
		if alphabetBits[c]&(1<<a) != 0 && c != '=' && c != '.' && c != '-' && c != '/' && c != '_' && c != '%' && c != ':' && c != '|' && c != '*' && c != '~' {
			list = append(list, byte(c))
		}
	}
	return list
}

// fakeBody makes a random variable part of n bytes that passes the check.
func fakeBody(rnd *rand.Rand, f *format, n int) string {
	letters := alphabetBytes(f.alpha)
	for {
		b := make([]byte, n)
		for i := range b {
			b[i] = letters[rnd.IntN(len(letters))]
		}
		switch f.check {
		case dotted:
			b[n/2] = '.'
		case dashed:
			b[n/2] = '-'
		case uuid:
			for i := range b {
				b[i] = "0123456789abcdef"[rnd.IntN(16)]
			}
			b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
		}
		if f.holds(b) || f.check == uuid && n != 36 { // no other length does
			return string(b)
		}
	}
}

func TestFormats(t *testing.T) {
	if len(formats) < 150 {
		t.Errorf("%d formats, want at least 150", len(formats))
	}
	s := scanner(t, Options{})
	rnd := rand.New(rand.NewPCG(4, 2))
	seen := map[string]bool{}
	for k := range formats {
		f := &formats[k]
		if seen[f.vendor] || len(f.prefix) < 2 || !isAlnum(f.prefix[0]) || f.vendor == "" || f.min < 1 || f.max < f.min {
			t.Errorf("%+v: not a format, or one twice", *f)
		}
		seen[f.vendor] = true
		if len(f.prefix)+f.min < minToken {
			t.Errorf("%+v: shorter than the shortest token looked at", *f)
		}
		for _, n := range []int{f.min, (f.min + f.max) / 2, f.max} {
			secret := f.prefix + fakeBody(rnd, f, n)
			for _, text := range []string{secret, "use " + secret + " now", `x("` + secret + `")`, "a," + secret + "\n", "It is " + secret + "."} {
				spans := s.Scan([]byte(text), nil)
				i := strings.Index(text, secret)
				if !covered(spans, i, i+len(secret), EntitySecret, EntityJWT) {
					t.Errorf("%s: %q in %q: %q", f.vendor, secret, text, found(s, text))
				}
			}
		}
		masked := f.prefix + strings.Repeat("x", f.min)
		if got := found(s, masked); got != nil && f.alpha != abHex {
			t.Errorf("%s: a mask is taken: %q", f.vendor, got)
		}
	}
	t.Logf("%d formats", len(formats))
}

// TestFormatsNeedABoundary puts a letter before each prefix.
func TestFormatsNeedABoundary(t *testing.T) {
	s := scanner(t, Options{Recognizers: []string{"secret"}})
	for _, text := range []string{"x" + "gh" + "p_wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx", "0" + "AK" + "IAQWERTYUIOP234567", "AK" + "IAQWERTYUIOP2345678"} {
		if got := found(s, text); got != nil {
			t.Errorf("%q: %q", text, got)
		}
	}
}
