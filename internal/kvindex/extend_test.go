// SPDX-License-Identifier: Apache-2.0

package kvindex

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/bauxite/caddy-kvaware/radixcache"
)

// A place after the last text block gives the tokens up to it to a prompt that has the
// same text up to there, and to no other.
func TestExtend(t *testing.T) {
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		x := New(radixcache.New(4<<20), nil)
		x.SetLimit(8 << 20)
		block := 1 + rnd.IntN(20)
		s := x.Space(TokenKey{Model: "m", BlockTokens: block})
		tokens := make([]uint32, 200+rnd.IntN(400))
		for i := range tokens {
			tokens[i] = rnd.Uint32()
		}
		text := make([]uint64, rnd.IntN(9))
		anchors := make([]Anchor, len(text))
		for i := range text {
			text[i] = rnd.Uint64()
			anchors[i] = Anchor{Tokens: (i + 1) * 20, Exact: rnd.IntN(2) == 0}
		}
		end, at := rnd.Uint64(), 20*len(text)+rnd.IntN(20)
		if x.Link(s, append(slices.Clone(text), end), append(slices.Clone(anchors), Anchor{Tokens: at, Exact: true}), tokens) {
			t.Fatalf("seed %d: a single prompt contradicts itself", seed)
		}
		chain, known, _ := x.Match(s, text, nil)
		longer, more, ok := x.Extend(s, end, slices.Clone(chain), known)
		want := x.Chain(s, tokens, nil)[:at/block]
		if !ok || more != at || !slices.Equal(longer, want) {
			t.Fatalf("seed %d: %v, %d tokens in %d blocks; want %d in %d", seed, ok, more, len(longer), at, len(want))
		}
		if _, _, ok := x.Extend(s, end+1, slices.Clone(chain), known); ok {
			t.Fatalf("seed %d: a place that was never linked", seed)
		}
		if len(chain) > 0 {
			other := slices.Clone(chain)
			other[len(other)-1]++
			if same, n, ok := x.Extend(s, end, other, known); ok && at/block > len(chain) {
				t.Fatalf("seed %d: it continues after other tokens: %d in %d blocks", seed, n, len(same))
			}
		}
		if _, _, ok := x.Extend(x.Space(TokenKey{Model: "m", BlockTokens: block, Variant: 1}), end, nil, 0); ok {
			t.Fatalf("seed %d: found in another space", seed)
		}
		x.EndEpoch("m")
		if _, _, ok := x.Extend(x.Space(TokenKey{Model: "m", BlockTokens: block}), end, nil, 0); ok {
			t.Fatalf("seed %d: found after its epoch", seed)
		}
	}
}
