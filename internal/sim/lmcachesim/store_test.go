// SPDX-License-Identifier: Apache-2.0

package lmcachesim

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

const ms = time.Millisecond

// newTestStore returns a store whose chunks of 10 tokens take 10 ms from disk and 1 ms
// to the GPU.
func newTestStore(t *testing.T, memory, disk int) *store {
	t.Helper()
	sizes, err := Sizes{ChunkTokens: 10, MemoryChunks: memory, DiskChunks: disk, DiskRate: 1000, GPURate: 10000}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	return newStore(sizes)
}

func TestStageAndLoad(t *testing.T) {
	s := newTestStore(t, 10, 100)
	chain := []uint64{1, 2, 3, 4, 5}
	if held, ready := s.load(0, chain, 0); held != 0 || ready != 0 {
		t.Errorf("an empty store holds %d, at %v", held, ready)
	}
	s.put(0, chain)
	if held, ready := s.load(0, chain, 2); held != 5 || ready != 3*ms {
		t.Errorf("from memory: %d at %v", held, ready)
	}
	s.memory.empty()
	// Chunks that the engine loads from disk do not stay in memory.
	if held, ready := s.load(100*ms, chain, 0); held != 5 || ready != 155*ms {
		t.Errorf("from disk: %d at %v", held, ready)
	}
	if memory, all := s.leading(chain); memory != 0 || all != 5 {
		t.Errorf("%d in memory, %d in all", memory, all)
	}
	// Staged chunks do. They come one after the other, after the reads before.
	if found, ready := s.stage(120*ms, append(chain, 9)); found != 5 || ready != 200*ms {
		t.Errorf("staged %d, at %v", found, ready)
	}
	if found, ready := s.stage(121*ms, chain); found != 5 || ready != 200*ms {
		t.Errorf("staged again: %d, at %v", found, ready)
	}
	s.settle(175 * ms)
	if memory, _ := s.leading(chain); memory != 2 {
		t.Errorf("%d in memory half way", memory)
	}
	// An engine that needs them now waits for those on their way.
	if held, ready := s.load(175*ms, chain, 0); held != 5 || ready != 205*ms {
		t.Errorf("on its way: %d at %v", held, ready)
	}
	if held, ready := s.load(300*ms, chain, 0); held != 5 || ready != 305*ms {
		t.Errorf("staged: %d at %v", held, ready)
	}
	if len(s.coming) != 0 || len(s.comingAt) != 0 {
		t.Error("chunks are still coming")
	}
}

// TestLRU compares an lru with a slice in order of use.
func TestLRU(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const size = 7
	fast := newTier(size)
	var slow []uint64 // least recently used first
	for range 20000 {
		c := random.Uint64N(20)
		i := slices.Index(slow, c)
		if fast.has(c) != (i >= 0) {
			t.Fatalf("chunk %d: %v", c, fast.has(c))
		}
		put := random.IntN(2) == 0
		if i >= 0 {
			slow = append(slices.Delete(slow, i, i+1), c)
		} else if put {
			if len(slow) == size {
				slow = slow[1:]
			}
			slow = append(slow, c)
		}
		if put {
			fast.put(c)
		} else {
			fast.touch(c)
		}
		if len(fast.at) != len(slow) || fast.order.Len() != len(slow) {
			t.Fatalf("%d chunks, want %d", len(fast.at), len(slow))
		}
	}
}

func TestChain(t *testing.T) {
	s := newTestStore(t, 1, 1)
	tokens := make([]uint32, 35)
	for i := range tokens {
		tokens[i] = uint32(i)
	}
	a := s.chain("m", "", tokens)
	if len(a) != 3 || !slices.Equal(a[:2], s.chain("m", "", tokens[:29])) {
		t.Errorf("chains %v, %v", a, s.chain("m", "", tokens[:29]))
	}
	for _, other := range [][]uint64{s.chain("m", "s", tokens), s.chain("n", "", tokens), s.chain("", "m", tokens), s.chain("m", "", tokens[1:])} {
		for i := range other {
			if slices.Contains(a, other[i]) {
				t.Errorf("chunk %d is shared with another prompt", i)
			}
		}
	}
}

// TestChanges: each change is returned once, in order, and all changes together give
// the chunks that the node holds.
func TestChanges(t *testing.T) {
	n := startNode(t, "127.0.0.1:0", func(c *NodeConfig) { c.MemoryChunks = 2 })
	n.Store(0, n.Chain("m", "", []uint32{9, 9, 9, 9})) // before the record starts
	if got := n.Changes(); len(got) != 0 {
		t.Errorf("%d changes before the first call", len(got))
	}
	chain := n.Chain("m", "", []uint32{1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4})
	n.Store(0, chain)
	n.Store(0, chain[2:]) // is in memory
	n.EvictMemory()
	held := map[string]map[uint64]bool{"CPU": {}, "STORAGE": {}}
	changes := n.Changes()
	for i, c := range changes {
		if !c.Removed && held[c.Medium][c.Chunk] {
			t.Errorf("change %d is repeated: %+v", i, c)
		}
		if c.Removed {
			delete(held[c.Medium], c.Chunk)
		} else {
			held[c.Medium][c.Chunk] = true
		}
	}
	if len(held["CPU"]) != 0 || len(held["STORAGE"]) != 3 || !held["STORAGE"][chain[1]] {
		t.Errorf("by its changes the node holds %v", held)
	}
	if again := n.Changes(); len(again) != 0 {
		t.Errorf("%d changes are returned twice", len(again))
	}
}
