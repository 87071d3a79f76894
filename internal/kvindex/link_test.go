// SPDX-License-Identifier: Apache-2.0

package kvindex

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/bauxite/caddy-kvaware/radixcache"
)

// newIndex returns an index of its own tree with a limit for the whole, and keeps
// the tree's limit at what is left.
func newIndex(whole int64) (*Index, *radixcache.Tree) {
	tree := radixcache.New(whole)
	x := New(tree, func(bytes int64) { tree.SetLimit(whole - bytes) })
	x.SetLimit(whole)
	return x, tree
}

// textChain hashes a text in blocks as janitor does.
func textChain(text string, block int) (chain []uint64) {
	h := uint64(42)
	for len(text) >= block {
		h = xxhash.Sum64String(fmt.Sprint(h, text[:block]))
		chain = append(chain, h)
		text = text[block:]
	}
	return chain
}

// words is a tokenizer: each word is a token with the space before it, and so is
// each run of other characters; a word of more than 7 letters is several tokens.
func words(text string) (tokens []uint32, ends []int) {
	start := 0
	for i := 1; i <= len(text); i++ {
		if i < len(text) && text[i] != ' ' && i-start < 8 {
			continue
		}
		tokens = append(tokens, uint32(xxhash.Sum64String(text[start:i])))
		ends = append(ends, i)
		start = i
	}
	return tokens, ends
}

// truth returns the number of tokens that any text with the same first n bytes has: up
// to the last start of a word.
func truth(text string, ends []int, n int) int {
	k := 0
	for k < len(ends) && ends[k] < n && (ends[k] == len(text) || text[ends[k]] == ' ' || k+1 < len(ends) && ends[k+1] < n) {
		k++
	}
	for k > 0 && ends[k-1] < len(text) && text[ends[k-1]] != ' ' {
		k--
	}
	return k
}

func exactAnchors(text string, ends []int, block int) (anchors []Anchor) {
	for n := block; n <= len(text); n += block {
		anchors = append(anchors, Anchor{truth(text, ends, n), true})
	}
	return anchors
}

func randomText(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = "abcdefghij    "[r.IntN(14)]
	}
	return string(b)
}

// match calls Match and checks that the chain is no longer than the tokens.
func match(t *testing.T, x *Index, s Space, text []uint64) ([]uint64, int, int) {
	t.Helper()
	chain, tokens, blocks := x.Match(s, text, nil)
	if len(chain) != tokens/s.BlockTokens() || blocks > len(text) {
		t.Fatalf("%d hashes for %d tokens of %d each; %d of %d text blocks", len(chain), tokens, s.BlockTokens(), blocks, len(text))
	}
	return chain, tokens, blocks
}

func TestLinkedTextLeadsToItsTokens(t *testing.T) {
	textBlocks := []int{256, 64, 4096, 65536}
	if testing.Short() {
		textBlocks = textBlocks[:1]
	}
	for _, textBlock := range textBlocks {
		for _, block := range []int{1, 16, 256, 1024} {
			x, _ := newIndex(64 << 20)
			s := x.Space(TokenKey{Model: "m", BlockTokens: block})
			text := randomText(rand.New(rand.NewPCG(1, uint64(block))), 3*textBlock+100_000)
			tokens, ends := words(text)
			anchors := exactAnchors(text, ends, textBlock)
			chain := textChain(text, textBlock)
			if x.Link(s, chain, anchors, tokens) {
				t.Fatal("contradicted by nothing")
			}
			if err := x.validate(); err != nil {
				t.Fatal(err)
			}
			all := x.Chain(s, tokens, nil)
			for n := 0; n <= len(chain); n += 1 + len(chain)/50 {
				got, many, blocks := match(t, x, s, chain[:n])
				want := 0
				if n > 0 {
					want = anchors[n-1].Tokens
				}
				if textBlock/block > maxBlocks {
					continue // not linked
				}
				if many != want || blocks != n || !slices.Equal(got, all[:want/block]) {
					t.Fatalf("text blocks of %d, blocks of %d: %d tokens after %d text blocks, want %d; %d matched", textBlock, block, many, n, want, blocks)
				}
			}
			other := x.Space(TokenKey{Model: "m", BlockTokens: block, Salt: 1})
			if _, n, _ := match(t, x, other, chain); n != 0 {
				t.Fatal("another space has the same links")
			}
			x.EndEpoch("m")
			if _, n, _ := match(t, x, x.Space(TokenKey{Model: "m", BlockTokens: block}), chain); n != 0 {
				t.Fatal("an epoch that has ended has links")
			}
		}
	}
}

// numbers returns n different numbers.
func numbers[T uint32 | uint64](r *rand.Rand, n int) []T {
	out := make([]T, n)
	for i := range out {
		out[i] = T(r.Uint64())
	}
	return out
}

// estimates returns anchors of so many tokens a text block, exact or not.
func estimates(blocks, tokens int, exact bool) (anchors []Anchor) {
	for i := range blocks {
		anchors = append(anchors, Anchor{tokens * (i + 1), exact})
	}
	return anchors
}

// Two prompts have 20 text blocks and 1,000 tokens in common; estimates say 64 tokens
// a text block, which is too many. Linking the second one corrects that, and both can
// still be matched to their ends.
func TestEstimatesAreCappedWherePromptsDiverge(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 8))
	x, _ := newIndex(64 << 20)
	s := x.Space(TokenKey{Model: "m", BlockTokens: 16})
	text, tokens := numbers[uint64](r, 20), numbers[uint32](r, 1000)
	textA, tokensA := append(text[:20:20], numbers[uint64](r, 20)...), append(tokens[:1000:1000], numbers[uint32](r, 1560)...)
	textB, tokensB := append(text[:20:20], numbers[uint64](r, 20)...), append(tokens[:1000:1000], numbers[uint32](r, 1560)...)
	x.Link(s, textA, estimates(40, 64, false), tokensA)
	if _, n, _ := match(t, x, s, text); n != 20*64 {
		t.Fatalf("%d tokens estimated", n)
	}
	if x.Link(s, textB, estimates(40, 64, false), tokensB) {
		t.Fatal("a wrong estimate counts as a contradiction")
	}
	got, n, blocks := match(t, x, s, text)
	if want := x.Chain(s, tokens, nil); n != 1000/16*16 || blocks != 20 || !slices.Equal(got, want) {
		t.Fatalf("%d tokens over %d text blocks, %d and %d hashes", n, blocks, len(got), len(want))
	}
	if _, n, _ := match(t, x, s, text[:10]); n > 500 {
		t.Fatalf("%d tokens half way", n)
	}
	for _, p := range []struct {
		text   []uint64
		tokens []uint32
	}{{textA, tokensA}, {textB, tokensB}} {
		got, n, blocks := match(t, x, s, p.text)
		if n != 40*64 || blocks != 40 || !slices.Equal(got, x.Chain(s, p.tokens, nil)) {
			t.Fatalf("%d tokens over %d text blocks", n, blocks)
		}
	}
}

// A text whose exact anchors lead to other tokens, or whose estimates are too far off,
// ends the epoch.
func TestContradictionEndsTheEpoch(t *testing.T) {
	for _, exact := range []bool{true, false} {
		r := rand.New(rand.NewPCG(1, 8))
		x, _ := newIndex(64 << 20)
		s := x.Space(TokenKey{Model: "m", BlockTokens: 16})
		text, tokens := numbers[uint64](r, 20), numbers[uint32](r, 1280)
		other := x.Space(TokenKey{Model: "other", BlockTokens: 16})
		x.Link(s, text, estimates(20, 64, exact), tokens)
		x.Link(other, text, estimates(20, 64, exact), tokens)
		changed := slices.Clone(tokens)
		changed[40]++ // a date, say
		if !x.Link(s, text, estimates(20, 64, exact), changed) {
			t.Fatal("no contradiction")
		}
		now := x.Space(TokenKey{Model: "m", BlockTokens: 16})
		if _, n, _ := match(t, x, now, text); n != 0 {
			t.Fatal("links of an epoch that has ended")
		}
		if x.Link(s, text, estimates(20, 64, exact), tokens); x.log.records > 40 {
			t.Fatal("linked in an epoch that has ended")
		}
		if _, n, _ := match(t, x, other, text); n != 1280 {
			t.Fatal("another model's links were dropped")
		}
		if x.Link(now, text, estimates(20, 64, exact), changed) {
			t.Fatal("contradicted by an epoch that has ended")
		}
		if got, n, _ := match(t, x, now, text); n != 1280 || !slices.Equal(got, x.Chain(now, changed, nil)) {
			t.Fatal("not linked in the new epoch")
		}
	}
}
