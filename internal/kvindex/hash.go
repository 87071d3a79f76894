// SPDX-License-Identifier: Apache-2.0

package kvindex

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// mix spreads the bits of a word (finalizer of SplitMix64).
func mix(h uint64) uint64 {
	h = (h ^ h>>30) * 0xBF58476D1CE4E5B9
	h = (h ^ h>>27) * 0x94D049BB133111EB
	return h ^ h>>31
}

// Chain appends the hashes of the whole blocks of a prompt's tokens: those that a
// feed enters for an engine that stores these tokens, as long as they contain no
// media.
func (x *Index) Chain(s Space, tokens []uint32, dst []uint64) []uint64 {
	if s.blockTokens == 0 {
		return dst
	}
	h, extra, n := s.root, s.salt, int(s.blockTokens)
	for len(tokens) >= n {
		h = blockHash(h, extra, tokens[:n])
		dst = append(dst, h)
		tokens, extra = tokens[n:], 0
	}
	return dst
}

// hashedTokens is how many tokens are hashed at a time.
const hashedTokens = 64

// blockHash returns the hash of a block of tokens after a block with the hash before.
func blockHash(before, extra uint64, tokens []uint32) uint64 {
	var b [24 + 4*hashedTokens]byte
	binary.LittleEndian.PutUint64(b[0:], before)
	binary.LittleEndian.PutUint64(b[8:], uint64(len(tokens)))
	binary.LittleEndian.PutUint64(b[16:], extra)
	at := 24
	for {
		n := min(len(tokens), hashedTokens)
		for i, t := range tokens[:n] {
			binary.LittleEndian.PutUint32(b[at+4*i:], t)
		}
		h := xxhash.Sum64(b[:at+4*n])
		if tokens = tokens[n:]; len(tokens) == 0 {
			return h
		}
		binary.LittleEndian.PutUint64(b[0:], h)
		at = 8
	}
}
