// SPDX-License-Identifier: Apache-2.0

package kvindex

import "sync"

// The keys of entries that end after a time lie in chunks of 256 bytes, each of
// one feed, one tier and one time; 256 of them make a segment.
const (
	chunkWords    = 32
	chunkKeys     = chunkWords - 2 // word 0: the next chunk, word 1: time<<8 | how many
	chunksPerSlab = segmentWords / chunkWords
)

// chunkRef is the number of a chunk, and one more; 0 is none.
type chunkRef uint32

// slab is a segment of chunks.
type slab struct {
	words *segment
	free  chunkRef // first free chunk, linked by word 0
	used  int
}

// chunks gives out chunks to the queues of all feeds. What is in a chunk belongs
// to the queue it was given to.
type chunkPool struct {
	memory    *memory
	mu        sync.Mutex
	slabs     []slab // one that was given back has no words
	firstFree int    // no slab before has a free chunk
}

// words returns the words of a chunk.
func (c *chunkPool) words(ref chunkRef) []uint64Word {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at(ref)
}

func (c *chunkPool) at(ref chunkRef) []uint64Word {
	i := int(ref - 1)
	at := i % chunksPerSlab * chunkWords
	return c.slabs[i/chunksPerSlab].words[at : at+chunkWords]
}

// take returns a free chunk, 0 when there is no room. Chunks may take half of what
// the index may.
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
		c.at(ref)[0].Store(uint64(s.free))
		s.free = ref
	}
	c.firstFree = i
	return c.allocFrom(s)
}

// below tells whether there may be a segment beside n others.
func (c *chunkPool) fits(n int) bool { return int64(n+1)*2*segmentCost <= c.memory.currentLimit() }

// mayGrow tells whether chunks have less than their share of the memory.
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
	s.free = chunkRef(c.at(ref)[0].Load())
	s.used++
	return ref
}

// give takes a chunk back, and the memory of a segment with its last one.
func (c *chunkPool) release(ref chunkRef) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := int(ref-1) / chunksPerSlab
	s := &c.slabs[i]
	c.at(ref)[0].Store(uint64(s.free))
	s.free = ref
	c.firstFree = min(c.firstFree, i)
	if s.used--; s.used == 0 {
		*s = slab{}
		c.memory.release(segmentCost)
	}
}
