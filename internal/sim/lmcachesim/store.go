// SPDX-License-Identifier: Apache-2.0

package lmcachesim

import (
	"container/list"
	"errors"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// Sizes and speeds of one node's cache. Zero values mean the defaults.
type Sizes struct {
	// ChunkTokens is the number of tokens in a chunk, which is hashed and moved as one. Default: 256.
	ChunkTokens int
	// MemoryChunks and DiskChunks are the capacities of L1 and L2, in chunks. Defaults:
	// 512 and 65536.
	MemoryChunks, DiskChunks int
	// DiskRate is the speed of the disk, in tokens a second. Default: 50000,
	// which is 6.5 GB/s at 128 KiB a token.
	DiskRate float64
	// GPURate is the speed from CPU memory to the GPU, in tokens a second.
	// Default: 400000.
	GPURate float64
}

var errSizes = errors.New("lmcachesim: a size or rate is negative")

func (s Sizes) withDefaults() (Sizes, error) {
	setDefault(&s.ChunkTokens, 256)
	setDefault(&s.MemoryChunks, 512)
	setDefault(&s.DiskChunks, 65536)
	setDefault(&s.DiskRate, 50000)
	setDefault(&s.GPURate, 400000)
	if s.ChunkTokens < 1 || s.MemoryChunks < 1 || s.DiskChunks < 1 || !(s.DiskRate > 0) || !(s.GPURate > 0) {
		return s, errSizes
	}
	return s, nil
}

func setDefault[T int | float64](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// lru is a bounded set of chunks that evicts the least recently used one.
type lru struct {
	size  int
	order list.List // of uint64, most recently used first
	at    map[uint64]*list.Element
	// changed, if set, is called for each chunk that is added or evicted.
	changed func(chunk uint64, gone bool)
}

func newTier(size int) *lru { return &lru{size: size, at: make(map[uint64]*list.Element)} }

func (t *lru) notify(chunk uint64, gone bool) {
	if t.changed != nil {
		t.changed(chunk, gone)
	}
}

func (t *lru) has(chunk uint64) bool { return t.at[chunk] != nil }

// all returns the chunks in the tier.
func (t *lru) all() map[uint64]bool {
	set := make(map[uint64]bool, len(t.at))
	for chunk := range t.at {
		set[chunk] = true
	}
	return set
}

func (t *lru) touch(chunk uint64) {
	if e := t.at[chunk]; e != nil {
		t.order.MoveToFront(e)
	}
}

func (t *lru) put(chunk uint64) {
	if t.has(chunk) {
		t.touch(chunk)
		return
	}
	if t.order.Len() >= t.size {
		last := t.order.Back()
		delete(t.at, last.Value.(uint64))
		t.order.Remove(last)
		t.notify(last.Value.(uint64), true)
	}
	t.at[chunk] = t.order.PushFront(chunk)
	t.notify(chunk, false)
}

func (t *lru) empty() {
	for e := t.order.Front(); e != nil; e = e.Next() {
		t.notify(e.Value.(uint64), true)
	}
	t.order.Init()
	clear(t.at)
}

// store is one node's cache. It is not safe for concurrent use. Times are
// simulated.
type store struct {
	sizes    Sizes
	memory   *lru
	disk     *lru
	coming   []arrival                // staged chunks, in the order of their arrival
	comingAt map[uint64]time.Duration // the same by chunk
	diskFree time.Duration            // when the disk has read all it was asked for
	fromDisk int                      // chunks that an engine had to wait for
}

// arrival is the time at which a staged chunk is in memory.
type arrival struct {
	chunk uint64
	at    time.Duration
}

func newStore(s Sizes) *store {
	return &store{sizes: s, memory: newTier(s.MemoryChunks), disk: newTier(s.DiskChunks), comingAt: make(map[uint64]time.Duration)}
}

// chain returns the hashes of the whole chunks of tokens. Each covers all chunks before
// it.
func (s *store) chain(model, salt string, tokens []uint32) []uint64 {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.WriteString(model)
	_, _ = d.Write([]byte{0})
	_, _ = d.WriteString(salt)
	return enginesim.ChainTokens(d.Sum64(), tokens, s.sizes.ChunkTokens)
}

// settle adds to memory all chunks that have arrived by a time.
func (s *store) settle(at time.Duration) {
	n := 0
	for ; n < len(s.coming) && s.coming[n].at <= at; n++ {
		s.memory.put(s.coming[n].chunk)
		delete(s.comingAt, s.coming[n].chunk)
	}
	s.coming = s.coming[n:]
}

// read has the disk read one chunk as soon as it is free, and returns when it has.
func (s *store) read(at time.Duration) time.Duration {
	s.diskFree = max(s.diskFree, at) + s.chunkTime(s.sizes.DiskRate)
	return s.diskFree
}

// chunkTime returns the time for a chunk at a rate in tokens a second.
func (s *store) chunkTime(rate float64) time.Duration {
	return time.Duration(float64(s.sizes.ChunkTokens) / rate * float64(time.Second))
}

// stage brings those chunks of a chain to memory that are on disk only. It returns how
// many chunks are or will be in memory, and when.
func (s *store) stage(at time.Duration, chain []uint64) (found int, ready time.Duration) {
	s.settle(at)
	ready = at
	for _, c := range chain {
		s.disk.touch(c)
		switch then, coming := s.comingAt[c]; {
		case s.memory.has(c):
			s.memory.touch(c)
		case coming:
			ready = max(ready, then)
		case s.disk.has(c):
			then = s.read(at)
			s.comingAt[c] = then
			s.coming = append(s.coming, arrival{c, then})
			ready = then
		default:
			continue
		}
		found++
	}
	return found, ready
}

// load returns how many leading chunks of a chain are in any tier, and when the engine
// has those from index from on in its GPU. Chunks on disk are read first, and do not
// stay in memory.
func (s *store) load(at time.Duration, chain []uint64, from int) (held int, ready time.Duration) {
	s.settle(at)
	_, held = s.leading(chain)
	ready = at
	for _, c := range chain[:held] {
		s.memory.touch(c)
		s.disk.touch(c)
	}
	for i := from; i < held; i++ {
		then, coming := s.comingAt[chain[i]]
		if !s.memory.has(chain[i]) {
			if !coming {
				then = s.read(at)
			}
			ready = max(ready, then)
			s.fromDisk++
		}
	}
	return held, ready + time.Duration(max(held-from, 0))*s.chunkTime(s.sizes.GPURate)
}

// leading returns how many leading chunks are in memory, and in any tier.
func (s *store) leading(chain []uint64) (memory, all int) {
	for memory < len(chain) && s.memory.has(chain[memory]) {
		memory++
	}
	for all < len(chain) && (s.memory.has(chain[all]) || s.disk.has(chain[all])) {
		all++
	}
	return memory, all
}

// put writes a chain to both tiers.
func (s *store) put(at time.Duration, chain []uint64) {
	s.settle(at)
	for _, c := range chain {
		s.memory.put(c)
		s.disk.put(c)
	}
}
