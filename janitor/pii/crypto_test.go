// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"math/big"
	"math/bits"
	"math/rand/v2"
	"strings"
	"testing"
)

// slowKeccakF is the permutation as the reference writes it down.
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

// checksummed writes an address in the mixed case of EIP-55.
func checksummed(rnd *rand.Rand) string {
	digits := make([]byte, 40)
	for i := range digits {
		digits[i] = "0123456789abcdef"[rnd.IntN(16)]
	}
	var a [25]uint64
	block := make([]byte, 136)
	copy(block, digits)
	block[40], block[135] = 1, 0x80
	for i := range 17 {
		for k := range 8 {
			a[i] |= uint64(block[8*i+k]) << (8 * k)
		}
	}
	slowKeccakF(&a)
	for i, c := range digits {
		nibble := byte(a[i/16]>>(8*(i/2%8))) >> (4 * (1 - i%2)) & 15
		if isAlpha(c) && nibble >= 8 {
			digits[i] = c &^ 0x20
		}
	}
	return "0x" + string(digits)
}

// TestEveryAddressOfMany puts thousands of addresses in one text: that they are
// many is no reason to leave one.
func TestEveryAddressOfMany(t *testing.T) {
	s := scanner(t, Options{})
	rnd := rand.New(rand.NewPCG(2, 3))
	var b strings.Builder
	const n = 20000
	for k := 0; k < n; {
		address := checksummed(rnd)
		if strings.ContainsAny(address[2:], "abcdef") && strings.ContainsAny(address[2:], "ABCDEF") { // else a word must speak for it
			b.WriteString(address)
			b.WriteByte(' ')
			k++
		}
	}
	if got := found(s, b.String()); len(got) != n {
		t.Errorf("%d addresses of %d found", len(got), n)
	}
}

// TestBase58LikeBigNumbers compares the decoder with math/big, for addresses
// and for what is one character away from one.
func TestBase58LikeBigNumbers(t *testing.T) {
	const letters = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
	rnd := rand.New(rand.NewPCG(4, 4))
	valid := 0
	for range 3000 {
		raw := make([]byte, 25)
		for i := range 21 {
			raw[i] = byte(rnd.Uint32())
		}
		raw[0] = []byte{0x00, 0x05, 0x6f, 0x30, 0x77, 0xff}[rnd.IntN(6)]
		one := sha256.Sum256(raw[:21])
		two := sha256.Sum256(one[:])
		copy(raw[21:], two[:4])
		if rnd.IntN(4) == 0 {
			raw[rnd.IntN(25)] ^= 1 << rnd.IntN(8)
		}
		var text []byte
		n, radix, rest := new(big.Int).SetBytes(raw), big.NewInt(58), new(big.Int)
		for n.Sign() > 0 {
			n.DivMod(n, radix, rest)
			text = append([]byte{letters[rest.Int64()]}, text...)
		}
		for range rnd.IntN(6) {
			text = append([]byte{'1'}, text...)
		}
		one = sha256.Sum256(raw[:21])
		two = sha256.Sum256(one[:])
		want := bytes.Equal(raw[21:], two[:4]) && raw[0] != 0x77 && raw[0] != 0xff
		switch raw[0] {
		case 0x00, 0x05, 0x6f, 0xc4, 0x30, 0x32, 0x3a:
		default:
			want = false
		}
		if got := base58Check(text); got != want {
			t.Fatalf("%s: %v, want %v", text, got, want)
		}
		if want {
			valid++
		}
	}
	if valid < 500 {
		t.Errorf("only %d valid addresses", valid)
	}
	if base58Check([]byte(strings.Repeat("z", 35))) {
		t.Error("a number longer than 25 bytes is taken")
	}
}
