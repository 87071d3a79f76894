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
)

// Beside all other calls, Match always returns a prefix of the prompt's chain.
func TestMatchBesideEverything(t *testing.T) {
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
	steps := 1500
	if testing.Short() {
		steps = 300
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
			for range steps {
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
			for range steps {
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
