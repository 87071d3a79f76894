// SPDX-License-Identifier: Apache-2.0

package kvindex

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
)

// BenchmarkApply applies an engine's events: prompts of 2,048 blocks of 16 tokens that
// share a quarter, in events of so many blocks, and removals, one at a time, of the
// blocks that do not fit in a cache of 100,000.
func BenchmarkApply(b *testing.B) {
	for _, blocks := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("%d blocks an event", blocks), func(b *testing.B) {
			x, tree := newIndex(1 << 30)
			f := x.Feed("engine")
			r := rand.New(rand.NewPCG(1, 1))
			shared := make([]uint64, 512)
			for i := range shared {
				shared[i] = r.Uint64()
			}
			tokens := make([]uint32, 16*blocks)
			var cached []uint64
			stored := kvevents.Event{Kind: kvevents.Stored, BlockSize: 16, Tokens: tokens, Hashes: make([]uint64, blocks)}
			removed := kvevents.Event{Kind: kvevents.Removed, Hashes: make([]uint64, 1)}
			n, depth, parent, pairs := 0, 0, uint64(0), 0
			b.ReportAllocs()
			for b.Loop() {
				for i := range tokens {
					tokens[i] = uint32(i + depth)
				}
				if depth >= 512 || n < 512 {
					for i := range stored.Hashes {
						tokens[16*i] = r.Uint32()
						stored.Hashes[i] = r.Uint64()
					}
				} else {
					copy(stored.Hashes, shared[depth:])
				}
				if n < 512 {
					copy(shared[depth:], stored.Hashes)
				}
				stored.Root, stored.Parent = depth == 0, parent
				if n < 512 || depth >= 512 {
					if f.Apply(&stored) {
						cached = append(cached, stored.Hashes...)
					} else if _, known := tree.BlockByKey(f.ID(), parent); known {
						b.Fatal("not indexed")
					} else {
						depth = 2048 // its parent was removed
					}
				}
				parent = stored.Hashes[blocks-1]
				if depth += blocks; depth >= 2048 {
					depth, parent = 512, shared[511]
				}
				for n += blocks; len(cached) > 100_000; {
					i := 512 + r.IntN(50_000)
					removed.Hashes[0] = cached[i]
					cached[i] = cached[len(cached)-1]
					cached = cached[:len(cached)-1]
					f.Apply(&removed)
				}
				pairs = len(cached)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/block")
			b.ReportMetric(float64(tree.Stats().Bytes)/float64(pairs), "B/pair")
		})
	}
}

// prompts makes linked prompts of 128 KB and 32k tokens.
func linkedPrompts(b *testing.B, n int) (*Index, Space, [][]uint64) {
	x, _ := newIndex(4 << 30)
	s := x.Space(TokenKey{Model: "m", BlockTokens: 16})
	r := rand.New(rand.NewPCG(1, 2))
	chains := make([][]uint64, n)
	tokens := make([]uint32, 32<<10)
	anchors := make([]Anchor, 512)
	for i := range anchors {
		anchors[i] = Anchor{64*(i+1) - 3, true}
	}
	for i := range chains {
		chains[i] = make([]uint64, 512)
		for k := range chains[i] {
			chains[i][k] = r.Uint64()
		}
		for k := range tokens {
			tokens[k] = r.Uint32()
		}
		if x.Link(s, chains[i], anchors, tokens) {
			b.Fatal("contradicted")
		}
	}
	return x, s, chains
}

// BenchmarkMatch matches prompts of 32k tokens and 128 KB in random order, few enough for
// the processor's cache or too many.
func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{1, 100, 2000} {
		b.Run(fmt.Sprintf("%d prompts", n), func(b *testing.B) {
			x, s, chains := linkedPrompts(b, n)
			r := rand.New(rand.NewPCG(1, 3))
			dst := make([]uint64, 0, 4096)
			b.ReportAllocs()
			for b.Loop() {
				var tokens int
				dst, tokens, _ = x.Match(s, chains[r.IntN(n)], dst[:0])
				if tokens != 64*512-3 || len(dst) != 2047 {
					b.Fatal(tokens, len(dst))
				}
			}
			st := x.Stats()
			b.ReportMetric(float64(st.Bytes)/float64(st.Links), "B/text-block")
		})
	}
	b.Run("unknown", func(b *testing.B) {
		x, s, chains := linkedPrompts(b, 100)
		other := x.Space(TokenKey{Model: "other", BlockTokens: 16})
		dst := make([]uint64, 0, 4096)
		_ = s
		for b.Loop() {
			dst, _, _ = x.Match(other, chains[0], dst[:0])
		}
	})
}

// BenchmarkLink links prompts of 32k tokens, new ones and the same again.
func BenchmarkLink(b *testing.B) {
	x, s, chains := linkedPrompts(b, 1)
	anchors := make([]Anchor, 512)
	for i := range anchors {
		anchors[i] = Anchor{64*(i+1) - 3, true}
	}
	tokens := make([]uint32, 32<<10)
	r := rand.New(rand.NewPCG(1, 5))
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			for k := range chains[0] {
				chains[0][k] = r.Uint64()
			}
			x.Link(s, chains[0], anchors, tokens)
		}
	})
	b.Run("again", func(b *testing.B) {
		for b.Loop() {
			x.Link(s, chains[0], anchors, tokens)
		}
	})
}
