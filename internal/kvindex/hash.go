// SPDX-License-Identifier: Apache-2.0

package kvindex

import "github.com/bauxite/caddy-kvaware/internal/blockhash"

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
		h = blockhash.Tokens(h, extra, tokens[:n])
		dst = append(dst, h)
		tokens, extra = tokens[n:], 0
	}
	return dst
}
