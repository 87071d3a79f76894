// SPDX-License-Identifier: Apache-2.0

package radixcache

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
)

// Under a ceiling the tree may forget, but lookups never say more than the model.
func TestUnderCeilingNeverSaysMore(t *testing.T) {
	skipWithRace(t)
	var evicted [3]uint64
	seeds := seedsOf(18)
	for seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 2))
		limit := int64(300+r.IntN(500)) << 10
		p := newPlayer(limit, []int{3, 20, 150}[seed%3])
		for step := range 1000 {
			up := p.ids[r.IntN(len(p.ids))]
			path := wildPath(r)
			chain := chainOf(path)
			switch x := r.IntN(40); {
			case x < 24:
				want := p.m.insert(up, path)
				if got := p.tree.Insert(up, chain, 16); got > want {
					t.Fatalf("seed %d step %d: held %d, more than %d", seed, step, got, want)
				}
			case x < 32:
				p.m.stored(up, path, 0, CPU, false)
				p.tree.Stored(up, StoredBlocks{Root: true, Keys: keysOf(up, path, 0), Blocks: chain, Weight: 16, Tier: CPU})
			case x < 36:
				i := r.IntN(len(path))
				p.tree.Removed(up, keysOf(up, path[:i+1], i), CPU)
				if !p.tree.present(up, chain, i) { // it may have been evicted and then inserted again, without a key
					delete(p.m.ups[up], path[:i+1])
				}
			case x < 37:
				p.m.cut(up, path, len(path)/2)
				p.tree.Cut(up, chain, len(path)/2)
			case x < 38:
				p.m.ups[up] = map[string]*[NumTiers]int{}
				p.tree.Forget(up)
			case x == 38 && step%10 == 0:
				p.tree.SetLimit(limit * int64(1+r.IntN(4)) / 4)
			}
			if step%25 == 0 || step > 960 {
				if err := p.tree.validate(); err != nil {
					t.Fatalf("seed %d step %d: %v", seed, step, err)
				}
			}
			q := wildPath(r)
			for _, m := range p.tree.Lookup(chainOf(q), nil) {
				if want := p.m.held(m.Upstream, q); int(m.Blocks) > want {
					t.Fatalf("seed %d step %d: %d holds %d blocks of %s, model says %d", seed, step, m.Upstream, m.Blocks, q, want)
				}
			}
		}
		if err := p.tree.checkWork(defaultWorkBudget + mostUndivided); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		evicted[seed%3] += p.tree.Stats().Evictions
	}
	for i, n := range evicted {
		if n < 50*seeds {
			t.Fatalf("only %d evictions with set %d of upstreams: the ceiling is too high", n, i)
		}
	}
}

// wildPath collides a lot at the start and hardly at the end.
func wildPath(r *rand.Rand) string {
	b := make([]byte, 1+r.IntN(300))
	for i := range b {
		if b[i] = 'a'; r.IntN(20) == 0 {
			b[i] += byte(r.IntN(26))
		}
	}
	return string(b)
}

// shapes are ways to fill a tree, each hard on one part of it. They record new
// blocks, and pass about their number to more, until that returns false.
var shapes = map[string]func(r *rand.Rand, tree *Tree, more func(blocks int) bool){
	"all distinct": func(r *rand.Rand, tree *Tree, more func(int) bool) {
		up := tree.Register("a")
		for longest := int(min(3+tree.Limit()>>20, 100)); ; {
			chain := distinct(r, 1+r.IntN(longest))
			if tree.Insert(up, chain, 16); !more(len(chain)) {
				return
			}
		}
	},
	"one long chain": func(r *rand.Rand, tree *Tree, more func(int) bool) {
		up := tree.Register("a")
		for {
			for i, salt := 0, r.Uint64(); i < len(longChain); i++ {
				longChain[i] ^= salt
			}
			n := min(len(longChain), int(tree.Limit()/40)+r.IntN(100))
			for done := n / 2; done < n; done += n / 5 {
				tree.Insert(up, longChain[:done], 16)
				if !more(n / 5) {
					return
				}
			}
		}
	},
	"wide fan-out": func(r *rand.Rand, tree *Tree, more func(int) bool) {
		root := distinct(r, 70)
		ups := []Upstream{tree.Register("a"), tree.Register("b"), tree.Register("c")}
		for i := 0; more(int(1 + tree.Limit()>>22)); i++ {
			tree.Insert(ups[i%3], append(root[:70:70], distinct(r, int(1+tree.Limit()>>22))...), 16)
		}
	},
	"upstreams that come and go": func(r *rand.Rand, tree *Tree, more func(int) bool) {
		shared := distinct(r, 200)
		tail := int(10 + tree.Limit()>>20)
		for i := 0; more(20 * tail); i++ {
			up := tree.Register(fmt.Sprint("10.0.0.", i%1000, ":8000"))
			for range 20 {
				tree.Insert(up, append(shared[:r.IntN(200):200], distinct(r, tail)...), 16)
			}
			if i%10 == 0 { // seldom, so that the rest outgrows every limit
				tree.Unregister(tree.Register(fmt.Sprint("10.0.0.", r.IntN(1000), ":8000")))
			}
		}
	},
	"events": func(r *rand.Rand, tree *Tree, more func(int) bool) {
		up := tree.Register("a")
		for {
			chain := distinct(r, 1+r.IntN(100))
			tree.Stored(up, StoredBlocks{Root: true, Keys: chain, Blocks: chain, Weight: 16})
			if !more(len(chain)) {
				return
			}
		}
	},
}

// longChain is allocated before the heap is measured.
var longChain = distinct(rand.New(rand.NewPCG(5, 5)), 1<<21)

func distinct(r *rand.Rand, n int) []uint64 {
	out := make([]uint64, n)
	for i := range out {
		out[i] = r.Uint64()
	}
	return out
}

// liveHeap returns the number of reachable bytes on the heap.
func liveHeap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Every shape goes on until it has recorded a multiple of what fits: ten times at
// 1 MB, four times at 20 MB, and one and a half times at 200 MB.
func TestCeilingHoldsForTheHeap(t *testing.T) {
	if raceEnabled {
		t.Skip("there is one goroutine, and the run without the detector checks the sizes")
	}
	const slack = 64 << 10
	halves := map[int64]int{1_000_000: 20, 20_000_000: 8, 200_000_000: 3}
	for name, fill := range shapes {
		for limit, halves := range halves {
			if testing.Short() && limit > 1_000_000 {
				continue // too slow
			}
			t.Run(fmt.Sprintf("%s/%d MB", name, limit/1_000_000), func(t *testing.T) {
				r := rand.New(rand.NewPCG(1, uint64(limit)))
				before := liveHeap()
				tree := New(limit)
				check := func() {
					if got := liveHeap() - before; got > limit+slack {
						t.Fatalf("%d bytes live under a limit of %d; tree says %d", got, limit, tree.Stats().Bytes)
					}
					if s := tree.Stats(); s.Bytes > limit {
						t.Fatalf("%d bytes over a limit of %d", s.Bytes, limit)
					}
				}
				// At the first eviction the tree is full. Check it then, and after each
				// further half of that.
				blocks, full, next := 0, 0, 0
				fill(r, tree, func(n int) bool {
					if blocks += n; full == 0 && tree.Stats().Evictions > 0 {
						full, next = blocks, blocks
					}
					if full > 0 && blocks >= next {
						check()
						next += full / 2
					}
					return full == 0 || blocks < halves*full/2
				})
				check()
				if limit < 200_000_000 { // there, from a third of it on: see shrink
					if err := tree.validate(); err != nil {
						t.Fatal(err)
					}
				}
				if tree.Stats().Blocks == 0 {
					t.Fatal("nothing is left")
				}
				shrink(t, tree, before)
				if err := tree.checkWork(defaultWorkBudget + mostUndivided); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

// shrink lowers the limit in steps, down to nothing.
func shrink(t *testing.T, tree *Tree, before int64) {
	for limit := tree.Limit() / 3; ; limit /= 3 {
		tree.SetLimit(limit)
		if s := tree.Stats(); s.Bytes > max(limit, tree.fixedBytes()) {
			t.Fatalf("%d bytes after the limit was lowered to %d", s.Bytes, limit)
		}
		if got := liveHeap() - before; got > max(limit, tree.fixedBytes())+64<<10 {
			t.Fatalf("%d bytes live after the limit was lowered to %d", got, limit)
		}
		if err := tree.validate(); err != nil {
			t.Fatal(err)
		}
		if limit == 0 {
			return
		}
	}
}
