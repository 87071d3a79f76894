// SPDX-License-Identifier: Apache-2.0

package blockhash

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cespare/xxhash/v2"
)

// golden hashes a whole text block by block.
func golden(root uint64, text []byte, size int) (chain []uint64, rest uint64) {
	for {
		var d xxhash.Digest
		d.ResetWithSeed(root)
		_, _ = d.Write(text[:min(size, len(text))])
		if len(text) < size {
			return chain, d.Sum64()
		}
		root = d.Sum64()
		chain, text = append(chain, root), text[size:]
	}
}

// However a text is cut into chunks, its chain is the same.
func TestTextAgainstGoldenModel(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		size, text := 1+r.IntN(40), bytes.Repeat([]byte{byte(seed)}, r.IntN(300))
		for i := range text {
			text[i] += byte(r.IntN(3))
		}
		var c Text
		for range 2 { // it can be started again
			c.Start(seed, size)
			for rest := text; len(rest) > 0; {
				n := r.IntN(len(rest) + 1)
				c.Add(rest[:n])
				rest = rest[n:]
			}
			chain, sum := golden(seed, text, size)
			if !slices.Equal(c.Chain, chain) || c.Sum() != sum || c.Open() != len(text)%size {
				t.Fatalf("seed %d: %d blocks, want %d; %d bytes open of %d in blocks of %d", seed, len(c.Chain), len(chain), c.Open(), len(text), size)
			}
		}
		if sum := c.Sum(); c.Open() > 0 {
			if c.EndBlock(); c.Chain[len(c.Chain)-1] != sum || c.Open() != 0 {
				t.Fatalf("seed %d: the short block is not in the chain", seed)
			}
		}
	}
}

// A hash of tokens depends on all it covers, and on nothing else.
func TestTokens(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{1, 16, 63, 64, 65, 128, 300} {
		tokens := make([]uint32, n)
		for i := range tokens {
			tokens[i] = r.Uint32()
		}
		seen := map[uint64]bool{Tokens(1, 2, tokens): true}
		if !seen[Tokens(1, 2, slices.Clone(tokens))] {
			t.Fatalf("%d tokens have two hashes", n)
		}
		add := func(h uint64) {
			if seen[h] {
				t.Fatalf("%d tokens have the hash of others", n)
			}
			seen[h] = true
		}
		add(Tokens(2, 2, tokens))
		add(Tokens(1, 1, tokens))
		add(Tokens(1, 2, append(slices.Clone(tokens), 0)))
		for i := range tokens {
			tokens[i]++
			add(Tokens(1, 2, tokens))
			tokens[i]--
		}
	}
}
