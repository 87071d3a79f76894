// SPDX-License-Identifier: Apache-2.0

package blockhash

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// hashedTokens is the number of tokens hashed at a time.
const hashedTokens = 64

// Tokens returns the hash of a block of tokens after the block with the hash before.
// extra is a digest of what else went into the block.
func Tokens(before, extra uint64, tokens []uint32) uint64 {
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
