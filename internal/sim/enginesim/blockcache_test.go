// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// goldenCache is the slow, obvious version of blockCache: a list of free blocks in
// the order of their release, and a list of cached blocks in the order of their
// computation.
type goldenCache struct {
	free      []int32
	refs      map[int32]int
	cached    []goldenEntry
	evictions int64
}

type goldenEntry struct {
	hash  uint64
	block int32
}

func newGoldenCache(n int) *goldenCache {
	g := &goldenCache{refs: map[int32]int{}}
	for i := range n {
		g.free = append(g.free, int32(i))
	}
	return g
}

func (g *goldenCache) find(hash uint64) (int32, bool) {
	for _, e := range g.cached {
		if e.hash == hash {
			return e.block, true
		}
	}
	return 0, false
}

func (g *goldenCache) acquire(chain []uint64, maxHits, need int) ([]int32, int, bool) {
	var held []int32
	for _, hash := range chain[:min(maxHits, need, len(chain))] {
		block, ok := g.find(hash)
		if !ok {
			break
		}
		held = append(held, block)
	}
	hits := len(held)
	rest := slices.DeleteFunc(slices.Clone(g.free), func(b int32) bool { return slices.Contains(held, b) })
	if need-hits > len(rest) {
		return nil, 0, false
	}
	for _, b := range rest[:need-hits] {
		before := len(g.cached)
		g.cached = slices.DeleteFunc(g.cached, func(e goldenEntry) bool { return e.block == b })
		g.evictions += int64(before - len(g.cached))
		held = append(held, b)
	}
	g.free = rest[need-hits:]
	for _, b := range held {
		g.refs[b]++
	}
	return held, hits, true
}

func (g *goldenCache) commit(block int32, hash uint64) {
	for _, e := range g.cached {
		if e.block == block {
			return
		}
	}
	g.cached = append(g.cached, goldenEntry{hash, block})
}

func (g *goldenCache) release(held []int32) {
	for i := len(held) - 1; i >= 0; i-- {
		if g.refs[held[i]]--; g.refs[held[i]] == 0 {
			g.free = append(g.free, held[i])
		}
	}
}

// validate recounts the lists of a blockCache and returns the free list.
func validate(c *blockCache) ([]int32, error) {
	var free []int32
	last := none
	for i := c.head; i != none; i = c.blocks[i].next {
		if c.blocks[i].prev != last || c.blocks[i].ref != 0 {
			return nil, fmt.Errorf("free block %d: prev %d, want %d; ref %d", i, c.blocks[i].prev, last, c.blocks[i].ref)
		}
		free, last = append(free, i), i
		if len(free) > len(c.blocks) {
			return nil, fmt.Errorf("the free list is a ring")
		}
	}
	if last != c.tail || len(free) != c.free {
		return nil, fmt.Errorf("free list: tail %d want %d, length %d want %d", c.tail, last, c.free, len(free))
	}
	hashed := 0
	for i := range c.blocks {
		if c.blocks[i].hashed {
			hashed++
		}
		if c.blocks[i].ref == 0 && !slices.Contains(free, int32(i)) {
			return nil, fmt.Errorf("block %d is lost", i)
		}
	}
	for hash, i := range c.byHash {
		for ; i != none; i = c.blocks[i].same {
			if !c.blocks[i].hashed || c.blocks[i].hash != hash {
				return nil, fmt.Errorf("block %d is listed under a hash it does not have", i)
			}
			hashed--
		}
	}
	if hashed != 0 {
		return nil, fmt.Errorf("%d hashed blocks are listed nowhere", hashed)
	}
	return free, nil
}

// TestBlockCacheAgainstGolden runs random requests over few blocks and few
// prefixes, so that they share, evict and duplicate a lot.
func TestBlockCacheAgainstGolden(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 1))
		size := 4 + rng.IntN(24)
		c, g := newBlockCache(size), newGoldenCache(size)
		var running [][]int32
		refused, hitsSeen := 0, 0
		for range 3000 {
			if len(running) > 0 && rng.IntN(2) == 0 {
				i := rng.IntN(len(running))
				c.release(running[i])
				g.release(running[i])
				running = slices.Delete(running, i, i+1)
			} else {
				chain := randomChain(rng)
				need := len(chain) + rng.IntN(3)
				maxHits := rng.IntN(len(chain) + 1)
				held, hits, ok := c.acquire(chain, maxHits, need)
				gHeld, gHits, gOK := g.acquire(chain, maxHits, need)
				if ok != gOK || hits != gHits || !slices.Equal(held, gHeld) {
					t.Fatalf("seed %d: acquire = %v %d %v, want %v %d %v", seed, held, hits, ok, gHeld, gHits, gOK)
				}
				if !ok {
					refused++
					continue
				}
				hitsSeen += hits
				for i := hits; i < len(chain); i++ {
					c.commit(held[i], chain[i])
					g.commit(held[i], chain[i])
				}
				running = append(running, held)
			}
			free, err := validate(c)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if !slices.Equal(free, g.free) || c.evictions != g.evictions {
				t.Fatalf("seed %d: free %v, evictions %d; want %v, %d", seed, free, c.evictions, g.free, g.evictions)
			}
		}
		if refused == 0 || hitsSeen == 0 || c.evictions == 0 {
			t.Errorf("seed %d tested nothing: refused %d, hits %d, evictions %d", seed, refused, hitsSeen, c.evictions)
		}
	}
}

// randomChain returns a path in a small tree of prefixes.
func randomChain(rng *rand.Rand) []uint64 {
	var chain []uint64
	hash := uint64(1)
	for range 1 + rng.IntN(5) {
		hash = hash*10 + rng.Uint64N(2)
		chain = append(chain, hash)
	}
	return chain
}

func TestBlockCacheEvictsTheEndOfAPromptFirst(t *testing.T) {
	c := newBlockCache(4)
	chain := []uint64{11, 12, 13, 14}
	held, _, _ := c.acquire(chain, 0, 4)
	for i, hash := range chain {
		c.commit(held[i], hash)
	}
	c.release(held)
	if _, _, ok := c.acquire([]uint64{99}, 1, 1); !ok {
		t.Fatal("no room in an idle cache")
	}
	if _, hits, _ := c.acquire(chain, 3, 3); hits != 3 {
		t.Errorf("%d blocks of the beginning are left, want 3", hits)
	}
	if c.evictions != 1 {
		t.Errorf("%d evictions", c.evictions)
	}
}

func TestBlockCacheClear(t *testing.T) {
	c := newBlockCache(4)
	held, _, _ := c.acquire([]uint64{1, 2}, 0, 2)
	c.commit(held[0], 1)
	c.commit(held[1], 2)
	c.clear()
	if _, hits, _ := c.acquire([]uint64{1}, 1, 1); hits != 0 {
		t.Error("a cleared cache hits")
	}
	c.release(held)
	if _, err := validate(c); err != nil {
		t.Error(err)
	}
}
