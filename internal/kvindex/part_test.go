// SPDX-License-Identifier: Apache-2.0

package kvindex

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
	"github.com/bauxite/caddy-kvaware/radixcache"
)

// numbers are n different things.
func numbers[T uint32 | uint64](r *rand.Rand, n int) []T {
	out := make([]T, n)
	for i := range out {
		out[i] = T(r.Uint64())
	}
	return out
}

// estimates are anchors of so many tokens a text block, exact or not.
func estimates(blocks, tokens int, exact bool) (anchors []Anchor) {
	for i := range blocks {
		anchors = append(anchors, Anchor{tokens * (i + 1), exact})
	}
	return anchors
}

// Two prompts have 20 text blocks and 1,000 tokens in common; estimates say 64 tokens
// a text block, which is too many. Linking the second one puts that right, and both
// can still be followed to their ends.
func TestEstimatesAreCutWherePromptsPart(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 8))
	x, _ := newIndex(64 << 20)
	s := x.Space(TokenKey{Model: "m", BlockTokens: 16})
	text, tokens := numbers[uint64](r, 20), numbers[uint32](r, 1000)
	textA, tokensA := append(text[:20:20], numbers[uint64](r, 20)...), append(tokens[:1000:1000], numbers[uint32](r, 1560)...)
	textB, tokensB := append(text[:20:20], numbers[uint64](r, 20)...), append(tokens[:1000:1000], numbers[uint32](r, 1560)...)
	x.Link(s, textA, estimates(40, 64, false), tokensA)
	if _, n, _ := follow(t, x, s, text); n != 20*64 {
		t.Fatalf("%d tokens estimated", n)
	}
	if x.Link(s, textB, estimates(40, 64, false), tokensB) {
		t.Fatal("an estimate that was wrong is no contradiction")
	}
	got, n, blocks := follow(t, x, s, text)
	if want := x.Chain(s, tokens, nil); n != 1000/16*16 || blocks != 20 || !slices.Equal(got, want) {
		t.Fatalf("%d tokens over %d text blocks, %d and %d hashes", n, blocks, len(got), len(want))
	}
	if _, n, _ := follow(t, x, s, text[:10]); n > 500 {
		t.Fatalf("%d tokens half way", n)
	}
	for _, p := range []struct {
		text   []uint64
		tokens []uint32
	}{{textA, tokensA}, {textB, tokensB}} {
		got, n, blocks := follow(t, x, s, p.text)
		if n != 40*64 || blocks != 40 || !slices.Equal(got, x.Chain(s, p.tokens, nil)) {
			t.Fatalf("%d tokens over %d text blocks", n, blocks)
		}
	}
}

// One text of which exact anchors say that it stands for other tokens, or estimates
// that are too far off, ends the epoch.
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
		if _, n, _ := follow(t, x, now, text); n != 0 {
			t.Fatal("links of an epoch that has ended")
		}
		if x.Link(s, text, estimates(20, 64, exact), tokens); x.log.records > 40 {
			t.Fatal("linked in an epoch that has ended")
		}
		if _, n, _ := follow(t, x, other, text); n != 1280 {
			t.Fatal("another model's links are gone")
		}
		if x.Link(now, text, estimates(20, 64, exact), changed) {
			t.Fatal("contradicted by an epoch that has ended")
		}
		if got, n, _ := follow(t, x, now, text); n != 1280 || !slices.Equal(got, x.Chain(now, changed, nil)) {
			t.Fatal("not linked in the new epoch")
		}
	}
}

// What goes at the ceiling for others' sake makes a feed partial; salt and adapter
// make other blocks of the same tokens.
func TestFeedPartialAndSpaces(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 8))
	x, tree := newIndex(2 << 20)
	f := x.Feed("a")
	tokens := numbers[uint32](r, 160)
	e := kvevents.Event{Kind: kvevents.Stored, Root: true, Hashes: numbers[uint64](r, 10), Tokens: tokens, BlockSize: 16,
		Extra: make([]uint64, 10), LoRA: []byte("french")}
	e.Extra[0] = kvevents.SaltExtra("pepper")
	if !f.Apply(&e) || f.BlockTokens() != 16 || f.Tiered() {
		t.Fatal("not applied")
	}
	for _, k := range []TokenKey{{Adapter: "french", Salt: e.Extra[0]}, {Adapter: "french"}, {Salt: e.Extra[0]}, {}} {
		k.BlockTokens = 16
		want := 0
		if k.Adapter != "" && k.Salt != 0 {
			want = 1
		}
		if got := tree.Lookup(x.Chain(x.Space(k), tokens, nil), nil); len(got) != want || want == 1 && got[0] != (radixcache.Match{Upstream: f.ID(), Blocks: 10}) {
			t.Fatalf("%+v: %v", k, got)
		}
	}
	if f.SetKnowledge(kvevents.Complete); f.Partial() || f.Knowledge() != kvevents.Complete {
		t.Fatal("partial with all the room there is")
	}
	other := tree.Register("other")
	for range 500 {
		tree.Insert(other, numbers[uint64](r, 500), 16)
	}
	if !f.Partial() || f.Knowledge() != kvevents.Partial {
		t.Fatal("evicted, and not partial")
	}
	x.Drop(f)
	if f.Apply(&e) || f.Knowledge() != kvevents.Unknown || x.Stats().Feeds != 0 {
		t.Fatal("a feed that was dropped goes on")
	}
}

// Followers beside everything: what is followed is always a beginning of what the
// text stands for.
func TestFollowBesideEverything(t *testing.T) {
	x, tree := newIndex(3 << 20)
	r := rand.New(rand.NewPCG(3, 8))
	s := x.Space(TokenKey{Model: "m", BlockTokens: 16})
	texts, tokens, chains := make([][]uint64, 30), make([][]uint32, 30), make([][]uint64, 30)
	shared, begin := numbers[uint64](r, 40), numbers[uint32](r, 40*64)
	for i := range texts {
		n := r.IntN(41)
		texts[i] = append(shared[:n:n], numbers[uint64](r, 100)...)
		tokens[i] = append(begin[:n*64:n*64], numbers[uint32](r, 6400)...)
		chains[i] = x.Chain(s, tokens[i], nil)
	}
	var stop atomic.Bool
	var readers, writers sync.WaitGroup
	for g := range 2 {
		readers.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 9))
			var dst []uint64
			for !stop.Load() {
				i := r.IntN(len(texts))
				var n int
				dst, n, _ = x.Match(s, texts[i], dst[:0])
				if len(dst) != n/16 || !slices.Equal(dst, chains[i][:len(dst)]) {
					t.Errorf("%d tokens, %d hashes that are not the prompt's", n, len(dst))
					return
				}
				tree.Lookup(dst, nil)
				x.Stats()
			}
		})
	}
	for g := range 2 {
		writers.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 10))
			for range 1500 {
				i := r.IntN(len(texts))
				if r.IntN(3) == 0 {
					x.Link(s, numbers[uint64](r, 200), estimates(200, 4, true), numbers[uint32](r, 800))
				} else if x.Link(s, texts[i], estimates(len(texts[i]), 64, true), tokens[i]) {
					t.Error("contradicted")
				}
			}
		})
	}
	for g := range 2 {
		writers.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 11))
			for range 1500 {
				f := x.Feed([]string{"a", "b", "c"}[r.IntN(3)])
				switch r.IntN(12) {
				case 0:
					x.Drop(f)
				case 1:
					f.Clear()
				case 2:
					x.Expire(time.Unix(int64(r.IntN(5000)), 0))
				case 3:
					x.SetLimit(int64(1+r.IntN(3)) << 20)
				case 4:
					f.Apply(&kvevents.Event{Kind: kvevents.Removed, Hashes: shared[:r.IntN(40)], Tier: kvevents.Tier(r.IntN(3))})
				default:
					f.Apply(&kvevents.Event{Kind: kvevents.Stored, Root: true, Hashes: shared, Tokens: begin[:640], BlockSize: 16, Tier: kvevents.Tier(r.IntN(3))})
					f.Partial()
				}
			}
		})
	}
	writers.Wait()
	stop.Store(true)
	readers.Wait()
	x.SetLimit(1 << 20)
	if err := x.validate(); err != nil {
		t.Fatal(err)
	}
}
