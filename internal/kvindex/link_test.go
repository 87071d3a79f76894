// SPDX-License-Identifier: Apache-2.0

package kvindex

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/bauxite/caddy-kvaware/radixcache"
	"github.com/cespare/xxhash/v2"
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

// truth is how many tokens of a text any text with the same first n bytes has: up
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

// follow is Follow and what it must always be: no longer than the tokens say.
func follow(t *testing.T, x *Index, s Space, text []uint64) ([]uint64, int, int) {
	t.Helper()
	chain, tokens, blocks := x.Match(s, text, nil)
	if len(chain) != tokens/s.BlockTokens() || blocks > len(text) {
		t.Fatalf("%d hashes for %d tokens of %d each; %d of %d text blocks", len(chain), tokens, s.BlockTokens(), blocks, len(text))
	}
	return chain, tokens, blocks
}

func TestLinkedTextLeadsToItsTokens(t *testing.T) {
	for _, textBlock := range []int{64, 256, 4096, 65536} {
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
				got, many, blocks := follow(t, x, s, chain[:n])
				want := 0
				if n > 0 {
					want = anchors[n-1].Tokens
				}
				if textBlock/block > maxBlocks {
					continue // not linked
				}
				if many != want || blocks != n || !slices.Equal(got, all[:want/block]) {
					t.Fatalf("text blocks of %d, blocks of %d: %d tokens after %d text blocks, want %d; %d followed", textBlock, block, many, n, want, blocks)
				}
			}
			other := x.Space(TokenKey{Model: "m", BlockTokens: block, Salt: 1})
			if _, n, _ := follow(t, x, other, chain); n != 0 {
				t.Fatal("another space has the same links")
			}
			x.EndEpoch("m")
			if _, n, _ := follow(t, x, x.Space(TokenKey{Model: "m", BlockTokens: block}), chain); n != 0 {
				t.Fatal("an epoch that has ended has links")
			}
		}
	}
}
