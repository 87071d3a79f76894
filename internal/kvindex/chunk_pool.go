// SPDX-License-Identifier: Apache-2.0

package kvindex

import "sync"

// The keys of entries that expire lie in chunks of 256 bytes, each of one feed, one
// tier and one time; 256 of them make a segment:
//
//	word 0  the next chunk
//	word 1  time<<8 | number of keys
//	word 2  keys
const (
	chunkWords    = 32
	chunkHead     = 2
	chunkKeys     = chunkWords - chunkHead
	chunksPerSlab = segmentWords / chunkWords
)

// chunkRef is the number of a chunk plus one; 0 is none.
type chunkRef uint32

type chunk []uint64Word

func (c chunk) next() chunkRef       { return chunkRef(c[0].Load()) }
func (c chunk) setNext(ref chunkRef) { c[0].Store(uint64(ref)) }
func (c chunk) time() int64          { return int64(c[1].Load() >> 8) }
func (c chunk) count() int           { return int(c[1].Load() & 0xff) }
func (c chunk) key(i int) uint64     { return c[chunkHead+i].Load() }

// reset empties a chunk, for keys of a time.
func (c chunk) reset(time int64) {
	c.setNext(0)
	c[1].Store(uint64(time) << 8)
}

// add appends as many of the keys as there is room for.
func (c chunk) add(keys []uint64) (n int) {
	count := c.count()
	n = min(chunkKeys-count, len(keys))
	for i, key := range keys[:n] {
		c[chunkHead+count+i].Store(key)
	}
	c[1].Store(c[1].Load() + uint64(n))
	return n
}

// slab is a segment of chunks.
type slab struct {
	words *segment
	free  chunkRef // first free chunk, linked by word 0
	used  int
}

// chunkPool hands out chunks to the expiry queues of all feeds. The content of a
// chunk belongs to the queue that has it.
type chunkPool struct {
	memory    *memory
	mu        sync.Mutex
	slabs     []slab // a released one has no words
	firstFree int    // no slab before has a free chunk
}

func (c *chunkPool) chunk(ref chunkRef) chunk {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at(ref)
}

// at returns a chunk. The caller holds mu.
func (c *chunkPool) at(ref chunkRef) chunk {
	i := int(ref - 1)
	at := i % chunksPerSlab * chunkWords
	return c.slabs[i/chunksPerSlab].words[at : at+chunkWords]
}

// alloc returns a free chunk, 0 when there is no room. Chunks may take half of the
// index's limit.
func (c *chunkPool) alloc() chunkRef {
	c.mu.Lock()
	defer c.mu.Unlock()
	for ; c.firstFree < len(c.slabs); c.firstFree++ {
		if s := &c.slabs[c.firstFree]; s.words != nil && s.free != 0 {
			return c.allocFrom(s)
		}
	}
	i := 0
	for i < len(c.slabs) && c.slabs[i].words != nil {
		i++
	}
	if !c.fits(i) || !c.memory.take(segmentCost) {
		return 0
	}
	if i == len(c.slabs) {
		c.slabs = append(c.slabs, slab{})
	}
	s := &c.slabs[i]
	s.words = new(segment)
	for k := chunksPerSlab; k > 0; k-- {
		ref := chunkRef(i*chunksPerSlab + k)
		c.at(ref).setNext(s.free)
		s.free = ref
	}
	c.firstFree = i
	return c.allocFrom(s)
}

// fits reports whether there may be a segment beside n others.
func (c *chunkPool) fits(n int) bool { return int64(n+1)*2*segmentCost <= c.memory.currentLimit() }

// mayGrow reports whether chunks have less than their share of the memory.
func (c *chunkPool) mayGrow() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for i := range c.slabs {
		if c.slabs[i].words != nil {
			n++
		}
	}
	return c.fits(n)
}

func (c *chunkPool) allocFrom(s *slab) chunkRef {
	ref := s.free
	s.free = c.at(ref).next()
	s.used++
	return ref
}

// release takes a chunk back, and frees its segment with the last one.
func (c *chunkPool) release(ref chunkRef) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := int(ref-1) / chunksPerSlab
	s := &c.slabs[i]
	c.at(ref).setNext(s.free)
	s.free = ref
	c.firstFree = min(c.firstFree, i)
	if s.used--; s.used == 0 {
		*s = slab{}
		c.memory.release(segmentCost)
	}
}
