// SPDX-License-Identifier: Apache-2.0

package radixcache

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// Upstream "steady" holds a set of chains and never loses a block. The others come,
// go, and change beside it, under a limit that has room for all of steady's. A lookup
// must always find all that steady holds, and for no upstream more than the chain.
func TestLookupsBesideEverything(t *testing.T) {
	tree := New(8 << 20)
	steady := tree.Register("steady")
	r := rand.New(rand.NewPCG(1, 1))
	root := distinct(r, 100)
	var chains [][]uint64
	for i := range 40 {
		chain := append(append([]uint64{}, root[:20+2*i]...), distinct(r, 200)...)
		chains = append(chains, chain)
		tree.Insert(steady, chain, 16)
	}
	var stop atomic.Bool
	var readers, writers sync.WaitGroup
	for g := range 2 {
		readers.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 2))
			var dst []Match
			for !stop.Load() {
				chain := chains[r.IntN(len(chains))]
				n := 1 + r.IntN(len(chain))
				dst = tree.Lookup(chain[:n], dst[:0])
				found := false
				seen := map[Upstream]bool{}
				for _, m := range dst {
					if m.Blocks < 1 || int(m.Blocks) > n || seen[m.Upstream] {
						t.Errorf("match %+v of a chain of %d blocks, seen before: %v", m, n, seen[m.Upstream])
					}
					seen[m.Upstream] = true
					found = found || m.Upstream == steady && int(m.Blocks) == n
				}
				if !found {
					t.Errorf("steady holds %d blocks, the lookup says %v", n, dst)
					return
				}
			}
		})
	}
	rounds := 700
	if testing.Short() {
		rounds = 100
	}
	var mu sync.Mutex
	renewed, renewal := 0, sync.NewCond(&mu) // how often all chains of steady were inserted
	for g := range 3 {
		writers.Go(func() {
			// Without pauses the others could fill the tree with younger claims, and
			// steady's would be evicted.
			disturb(tree, rand.New(rand.NewPCG(uint64(g), 3)), chains, g, rounds, func() {
				mu.Lock()
				defer mu.Unlock()
				for was := renewed; renewed < was+2; {
					renewal.Wait()
				}
			})
		})
	}
	readers.Go(func() {
		for !stop.Load() {
			for _, chain := range chains {
				tree.Insert(steady, chain, 16) // keeps it young
			}
			mu.Lock()
			renewed++
			renewal.Broadcast()
			mu.Unlock()
		}
	})
	writers.Wait()
	stop.Store(true)
	readers.Wait()
	if err := tree.validate(); err != nil {
		t.Fatal(err)
	}
}

// disturb runs operations of all kinds for other upstreams than steady. It calls
// pause after every 100.
func disturb(tree *Tree, r *rand.Rand, chains [][]uint64, g, rounds int, pause func()) {
	for i := range rounds {
		if i%100 == 0 {
			pause()
		}
		up := tree.Register(fmt.Sprint("node-", g, "-", r.IntN(8)))
		chain := chains[r.IntN(len(chains))]
		chain = append(append([]uint64{}, chain[:r.IntN(len(chain))]...), distinct(r, 1+r.IntN(200))...)
		tree.Insert(up, chain, 16)
		at := r.IntN(len(chain))
		switch r.IntN(12) {
		case 0:
			tree.Unregister(up)
		case 1:
			tree.Forget(up)
		case 2:
			tree.Trim(up, int64(r.IntN(4000)))
		case 3:
			tree.SetLimit(int64(6+r.IntN(4)) << 20)
		case 4, 5:
			tree.Cut(up, chain, at)
		case 6:
			tree.DropBlock(up, chain, at)
		case 7, 8:
			tree.Stored(up, StoredBlocks{Root: true, Keys: chain[:at], Blocks: chain[:at], Weight: 16, Tier: CPU})
		case 9:
			tree.Removed(up, chain[at/2:at], CPU)
		case 10:
			tree.Stats()
			tree.BlocksByTier(up, chain)
		}
	}
}
