// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"encoding/hex"
	"math/bits"
	"math/rand/v2"
	"testing"
)

// slowKeccakF is the permutation as the reference writes it.
func slowKeccakF(a *[25]uint64) {
	for _, constant := range keccakRounds {
		var c, d [5]uint64
		for x := range 5 {
			c[x] = a[x] ^ a[x+5] ^ a[x+10] ^ a[x+15] ^ a[x+20]
		}
		for x := range 5 {
			d[x] = c[(x+4)%5] ^ bits.RotateLeft64(c[(x+1)%5], 1)
		}
		for i := range 25 {
			a[i] ^= d[i%5]
		}
		x, y, last := 1, 0, a[1] // rho and pi walk the lanes in one cycle
		for t := range 24 {
			x, y = y, (2*x+3*y)%5
			i := x + 5*y
			last, a[i] = a[i], bits.RotateLeft64(last, (t+1)*(t+2)/2)
		}
		for y := 0; y < 25; y += 5 {
			row := [5]uint64(a[y : y+5])
			for x := range 5 {
				a[y+x] = row[x] ^ ^row[(x+1)%5]&row[(x+2)%5]
			}
		}
		a[0] ^= constant
	}
}

func TestKeccakLikeTheReference(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 3))
	for range 200 {
		var a, b [25]uint64
		for i := range a {
			a[i] = rnd.Uint64()
		}
		b = a
		keccakF(&a)
		slowKeccakF(&b)
		if a != b {
			t.Fatal("the permutations differ")
		}
	}
	for message, want := range map[string]string{ // known answers
		"":    "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470",
		"abc": "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45",
	} {
		if sum := keccak256([]byte(message)); hex.EncodeToString(sum[:]) != want {
			t.Errorf("keccak256(%q) = %x", message, sum)
		}
	}
}
