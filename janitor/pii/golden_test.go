// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestMasks compares the masks with a look at each byte, for every value at
// every place and for random blocks.
func TestMasks(t *testing.T) {
	check := func(block *[blockSize]byte) {
		digits, tokens, colons, beyond := masks(block)
		high := false
		for i, c := range block {
			digit := c >= '0' && c <= '9'
			token := c < 0x80 && (digit || c == '-' || c == '.' || c == '/' || c == '+' || c|0x20 >= 0x61)
			colon := c >= ':' && c <= '='
			high = high || c >= 0x80
			if digits>>i&1 == 1 != digit || tokens>>i&1 == 1 != token || colons>>i&1 == 1 != colon {
				t.Fatalf("byte %#x at %d of %q: digit %v, token %v, colon %v", c, i, block, digit, token, colon)
			}
		}
		if beyond != 0 != high {
			t.Fatalf("%q: beyond ASCII %v", block, high)
		}
	}
	rnd := rand.New(rand.NewPCG(1, 9))
	for c := range 256 {
		for i := range blockSize {
			for _, fill := range []byte{0, 0x7f, 0x80, 0xff, 'a'} {
				var block [blockSize]byte
				for k := range block {
					block[k] = fill
				}
				block[i] = byte(c)
				check(&block)
			}
		}
	}
	for range 20000 {
		var block [blockSize]byte
		for k := range block {
			block[k] = byte(rnd.Uint32())
		}
		check(&block)
	}
}

// TestParseIPv6 compares the parser with that of net/netip.
func TestParseIPv6(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2, 9))
	parts := []string{":", ":", "::", "0", "1", "ffff", "2001", "db8", "12345", "abc", "1.2.3.4", "256.1.1.1", "01.2.3.4", ".", "%1"}
	valid := 0
	for range 200000 {
		var s string
		for range 1 + rnd.IntN(16) {
			s += parts[rnd.IntN(len(parts))]
		}
		want, err := netip.ParseAddr(s)
		ok := err == nil && want.Is6() && want.Zone() == ""
		got, gotOK := parseIPv6([]byte(s))
		if gotOK != ok || ok && got != want {
			t.Fatalf("%q: got %v, %v; want %v, %v", s, got, gotOK, want, err)
		}
		if ok {
			valid++
		}
	}
	if valid < 1000 {
		t.Errorf("only %d addresses among the texts", valid)
	}
}

// TestCardsLikeARegexp compares the cards of 16 digits together with those of
// a regular expression whose matches are checked.
func TestCardsLikeARegexp(t *testing.T) {
	s := scanner(t, Options{Recognizers: []string{"card"}})
	re := regexp.MustCompile(`(?:^|[ ,;])(4\d{15})(?:$|[ ,;])`)
	rnd := rand.New(rand.NewPCG(3, 9))
	total := 0
	for range 3000 {
		var b strings.Builder
		for range 6 {
			b.WriteString([]string{"x, ", "y; ", "z,"}[rnd.IntN(3)])
			d := make([]byte, []int{16, 16, 16, 15, 17, 8}[rnd.IntN(6)])
			for i := range d {
				d[i] = byte('0' + rnd.IntN(10))
			}
			d[0] = '4'
			b.Write(d)
			b.WriteString([]string{", ", ";", " x "}[rnd.IntN(3)])
		}
		text := b.String()
		var want []string
		for _, m := range re.FindAllStringSubmatchIndex(text, -1) {
			if luhn([]byte(text[m[2]:m[3]])) {
				want = append(want, "CARD:"+text[m[2]:m[3]])
			}
		}
		total += len(want)
		if got := found(s, text); !slices.Equal(got, want) {
			t.Fatalf("%q: got %q, want %q", text, got, want)
		}
	}
	if total == 0 {
		t.Error("no cards among the texts")
	}
}

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

func TestAllAlnum(t *testing.T) {
	for k := range 8 {
		for c := range 256 {
			b := []byte("aZ09zA5x")
			b[k] = byte(c)
			if got := allAlnum(binary.LittleEndian.Uint64(b)); got != isAlnum(byte(c)) {
				t.Errorf("%q: %v", b, got)
			}
		}
	}
}

func TestKnownTLD(t *testing.T) {
	for label, want := range map[string]bool{
		"com": true, "COM": true, "de": true, "museum": true, "xn--p1ai": true, "公司": true, "technology": true,
		"T": false, "notatld": false, "weight": false, "3": false, "": false, "xn--": false, "local": false, "localhost": false,
		strings.Repeat("a", 64): false,
	} {
		if got := knownTLD([]byte(label)); got != want {
			t.Errorf("%q: %v", label, got)
		}
	}
	for a := byte('a'); a <= 'z'; a++ {
		for b := byte('a'); b <= 'z'; b++ {
			if _, want := tlds[string([]byte{a, b})]; knownTLD([]byte{a, b &^ 0x20}) != want {
				t.Errorf("%c%c: %v", a, b, !want)
			}
		}
	}
	for tld := range tlds {
		if len(tld) > maxTLD {
			t.Errorf("%q is longer than maxTLD", tld)
		}
	}
}
