// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"math/rand/v2"
	"testing"
)

// TestLuhnFindsEveryWrongDigit changes each digit: the check digit exists to
// notice that.
func TestLuhnFindsEveryWrongDigit(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		d := make([]byte, 16)
		for i := range d {
			d[i] = byte('0' + rnd.IntN(10))
		}
		for d[15] = '0'; !luhn(d); d[15]++ {
		}
		for i := range d {
			was := d[i]
			for c := byte('0'); c <= '9'; c++ {
				if d[i] = c; luhn(d) != (c == was) {
					t.Fatalf("%s: digit %d as %c", d, i, c)
				}
			}
			d[i] = was
		}
	}
}
