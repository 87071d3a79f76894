// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"encoding/binary"
	"math/bits"
)

// keccak256 is the original Keccak, with the padding before FIPS 202 that
// Ethereum uses and crypto/sha3 does not offer, for messages shorter than one
// block of 136 bytes. golang.org/x/crypto/sha3 has it too, but allocates its
// state and clones it in Sum, so that copies of the text stay on the heap where
// nothing wipes them.
func keccak256(message []byte) (sum [32]byte) {
	const rate = 136
	var block [rate]byte
	copy(block[:rate-1], message)
	block[len(message)] ^= 0x01
	block[rate-1] ^= 0x80
	var a [25]uint64
	for i := range rate / 8 {
		a[i] = binary.LittleEndian.Uint64(block[i*8:])
	}
	keccakF(&a)
	for i := range 4 {
		binary.LittleEndian.PutUint64(sum[i*8:], a[i])
	}
	return sum
}

// keccakRounds are the round constants of Keccak-f[1600].
var keccakRounds = [24]uint64{
	0x0000000000000001, 0x0000000000008082, 0x800000000000808a, 0x8000000080008000, 0x000000000000808b, 0x0000000080000001,
	0x8000000080008081, 0x8000000000008009, 0x000000000000008a, 0x0000000000000088, 0x0000000080008009, 0x000000008000000a,
	0x000000008000808b, 0x800000000000008b, 0x8000000000008089, 0x8000000000008003, 0x8000000000008002, 0x8000000000000080,
	0x000000000000800a, 0x800000008000000a, 0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008,
}

// keccakF is the permutation (The Keccak reference, 3.0, 1.2). A text full of
// addresses calls it for each of them, so theta, rho, pi and chi are written
// out, lane by lane, with the lanes of a row together.
func keccakF(a *[25]uint64) {
	var e [25]uint64
	for round := 0; round < len(keccakRounds); round += 2 {
		keccakRound(&e, a, keccakRounds[round])
		keccakRound(a, &e, keccakRounds[round+1])
	}
}

// keccakRound is one round, from one state to the other.
func keccakRound(to, a *[25]uint64, constant uint64) {
	c0 := a[0] ^ a[5] ^ a[10] ^ a[15] ^ a[20]
	c1 := a[1] ^ a[6] ^ a[11] ^ a[16] ^ a[21]
	c2 := a[2] ^ a[7] ^ a[12] ^ a[17] ^ a[22]
	c3 := a[3] ^ a[8] ^ a[13] ^ a[18] ^ a[23]
	c4 := a[4] ^ a[9] ^ a[14] ^ a[19] ^ a[24]
	d0 := c4 ^ bits.RotateLeft64(c1, 1)
	d1 := c0 ^ bits.RotateLeft64(c2, 1)
	d2 := c1 ^ bits.RotateLeft64(c3, 1)
	d3 := c2 ^ bits.RotateLeft64(c4, 1)
	d4 := c3 ^ bits.RotateLeft64(c0, 1)

	b0 := a[0] ^ d0
	b1 := bits.RotateLeft64(a[6]^d1, 44)
	b2 := bits.RotateLeft64(a[12]^d2, 43)
	b3 := bits.RotateLeft64(a[18]^d3, 21)
	b4 := bits.RotateLeft64(a[24]^d4, 14)
	to[0] = b0 ^ ^b1&b2 ^ constant
	to[1] = b1 ^ ^b2&b3
	to[2] = b2 ^ ^b3&b4
	to[3] = b3 ^ ^b4&b0
	to[4] = b4 ^ ^b0&b1

	b0 = bits.RotateLeft64(a[3]^d3, 28)
	b1 = bits.RotateLeft64(a[9]^d4, 20)
	b2 = bits.RotateLeft64(a[10]^d0, 3)
	b3 = bits.RotateLeft64(a[16]^d1, 45)
	b4 = bits.RotateLeft64(a[22]^d2, 61)
	to[5] = b0 ^ ^b1&b2
	to[6] = b1 ^ ^b2&b3
	to[7] = b2 ^ ^b3&b4
	to[8] = b3 ^ ^b4&b0
	to[9] = b4 ^ ^b0&b1

	b0 = bits.RotateLeft64(a[1]^d1, 1)
	b1 = bits.RotateLeft64(a[7]^d2, 6)
	b2 = bits.RotateLeft64(a[13]^d3, 25)
	b3 = bits.RotateLeft64(a[19]^d4, 8)
	b4 = bits.RotateLeft64(a[20]^d0, 18)
	to[10] = b0 ^ ^b1&b2
	to[11] = b1 ^ ^b2&b3
	to[12] = b2 ^ ^b3&b4
	to[13] = b3 ^ ^b4&b0
	to[14] = b4 ^ ^b0&b1

	b0 = bits.RotateLeft64(a[4]^d4, 27)
	b1 = bits.RotateLeft64(a[5]^d0, 36)
	b2 = bits.RotateLeft64(a[11]^d1, 10)
	b3 = bits.RotateLeft64(a[17]^d2, 15)
	b4 = bits.RotateLeft64(a[23]^d3, 56)
	to[15] = b0 ^ ^b1&b2
	to[16] = b1 ^ ^b2&b3
	to[17] = b2 ^ ^b3&b4
	to[18] = b3 ^ ^b4&b0
	to[19] = b4 ^ ^b0&b1

	b0 = bits.RotateLeft64(a[2]^d2, 62)
	b1 = bits.RotateLeft64(a[8]^d3, 55)
	b2 = bits.RotateLeft64(a[14]^d4, 39)
	b3 = bits.RotateLeft64(a[15]^d0, 41)
	b4 = bits.RotateLeft64(a[21]^d1, 2)
	to[20] = b0 ^ ^b1&b2
	to[21] = b1 ^ ^b2&b3
	to[22] = b2 ^ ^b3&b4
	to[23] = b3 ^ ^b4&b0
	to[24] = b4 ^ ^b0&b1
}
