// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// slowCache is the golden model of a cache: a list of unpinned blocks, oldest
// first, and the pins of each pinned block.
type slowCache struct {
	capacity int
	pins     map[uint64]int
	idle     []uint64
}

func (s *slowCache) has(h uint64) bool { return s.pins[h] > 0 || slices.Contains(s.idle, h) }

func (s *slowCache) acquire(chain []uint64, force bool) (matched, pinned int) {
	for matched < len(chain) && s.has(chain[matched]) {
		matched++
	}
	used := len(s.pins)
	for _, h := range chain[:matched] {
		if s.pins[h] == 0 {
			used++
		}
	}
	if used+len(chain)-matched > s.capacity {
		if !force {
			return matched, 0
		}
		chain = chain[:matched+s.capacity-used]
	}
	for pass := range 2 { // the held blocks first
		for _, h := range chain {
			if (pass == 0) != s.has(h) {
				continue
			}
			if i := slices.Index(s.idle, h); i >= 0 {
				s.idle = slices.Delete(s.idle, i, i+1)
			}
			if !s.has(h) && len(s.pins)+len(s.idle) == s.capacity {
				s.idle = s.idle[1:]
			}
			s.pins[h] += 1 + 1000*pass // marks those made in the second pass
		}
		for h, n := range s.pins {
			if pass == 1 && n > 1000 {
				s.pins[h] = n - 1000
			}
		}
	}
	return matched, len(chain)
}

func (s *slowCache) release(chain []uint64) {
	for _, h := range slices.Backward(chain) {
		if s.pins[h]--; s.pins[h] == 0 {
			delete(s.pins, h)
			s.idle = append(s.idle, h)
		}
	}
}

func (c *cache) validate(t *testing.T) {
	t.Helper()
	pinned, idle := 0, 0
	for i := 1; i < len(c.blocks); i++ {
		if c.find(c.blocks[i].hash) != int32(i) {
			t.Fatal("a block is not in its bucket")
		}
		if c.blocks[i].refs > 0 {
			pinned++
		}
	}
	for i := c.blocks[0].next; i != 0; i = c.blocks[i].next {
		if c.blocks[i].refs != 0 || c.blocks[c.blocks[i].next].prev != i {
			t.Fatal("broken ring")
		}
		idle++
	}
	if n := len(c.blocks) - 1; pinned != c.pinned || pinned+idle != n || n > c.capacity {
		t.Fatalf("%d pinned (counted %d), %d idle, %d blocks of %d", pinned, c.pinned, idle, n, c.capacity)
	}
}

// randomChain returns a path through a tree with at most 3 children per block.
func randomChain(rnd *rand.Rand, longest int) []uint64 {
	chain := make([]uint64, rnd.IntN(longest+1))
	h := uint64(0)
	for i := range chain {
		h = hashPair(h, uint64(rnd.IntN(3)*rnd.IntN(2)))
		chain[i] = h
	}
	return chain
}

func TestCacheAgainstGoldenModel(t *testing.T) {
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		capacity := 1 + rnd.IntN(30)
		c, slow := newCache(capacity), &slowCache{capacity: capacity, pins: map[uint64]int{}}
		var held [][]uint64 // chains, and their blocks in c
		var blocks [][]int32
		for step := range 200 {
			if rnd.IntN(2) == 0 && len(held) > 0 {
				k := rnd.IntN(len(held))
				c.release(blocks[k])
				slow.release(held[k])
				held, blocks = slices.Delete(held, k, k+1), slices.Delete(blocks, k, k+1)
			} else {
				chain, force := randomChain(rnd, 12), rnd.IntN(3) == 0
				pinned, matched := c.acquire(nil, chain, force)
				wantMatched, wantPinned := slow.acquire(chain, force)
				if matched != wantMatched || len(pinned) != wantPinned {
					t.Fatalf("seed %d step %d: matched %d pinned %d, want %d and %d", seed, step, matched, len(pinned), wantMatched, wantPinned)
				}
				held, blocks = append(held, chain[:wantPinned]), append(blocks, pinned)
			}
			c.validate(t)
			probe := randomChain(rnd, 12)
			want := 0
			for want < len(probe) && slow.has(probe[want]) {
				want++
			}
			if got := c.match(probe); got != want {
				t.Fatalf("seed %d step %d: match %d, want %d", seed, step, got, want)
			}
		}
	}
}
