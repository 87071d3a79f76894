// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// classesOf returns the bits of masks for one byte.
func classesOf(c byte) (digit, token, colon bool) {
	digit = c >= '0' && c <= '9'
	token = c < 0x80 && (digit || c == '-' || c == '.' || c == '/' || c == '+' || c|0x20 >= 0x61)
	return digit, token, c >= ':' && c <= '='
}

// TestMasks compares the masks with a look at each byte, for every value at
// every place and for random blocks.
func TestMasks(t *testing.T) {
	check := func(block *[blockSize]byte) {
		digits, tokens, colons, beyond := masks(block)
		high := false
		for i, c := range block {
			digit, token, colon := classesOf(c)
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

func TestScanDoesNotAllocateOnCleanText(t *testing.T) {
	s := scanner(t, Options{})
	text := []byte(strings.Repeat("The quick brown fox, aged 12, has $3.50 and a user_id=42; see §3.4. ", 50))
	dst := make([]Span, 0, 16)
	if n := testing.AllocsPerRun(20, func() { dst = s.Scan(text, dst[:0]) }); n != 0 || len(dst) != 0 {
		t.Errorf("%v allocations, findings %v", n, dst)
	}
}
