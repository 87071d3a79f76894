// SPDX-License-Identifier: Apache-2.0

package enginesim

// none ends the index lists of a blockCache.
const none = int32(-1)

// kvBlock is one block of KV memory.
type kvBlock struct {
	hash       uint64
	ref        int32 // running requests that hold it; 0: it is in the free list
	prev, next int32 // free list, only when ref is 0
	same       int32 // next block with the same hash
	hashed     bool  // holds the KV of the prefix that hash names
}

// blockCache is the prefix cache of one simulated engine, with the order of
// vLLM's block pool: a free list from the least to the most recently freed
// block, in which blocks keep their content until a request needs the room. A
// request frees its last block first, so the end of a prompt is evicted before
// its beginning. Several blocks may hold the same hash (an engine computes a
// prompt's last block again and stores it a second time).
//
// It is not safe for concurrent use.
type blockCache struct {
	blocks     []kvBlock
	byHash     map[uint64]int32  // the oldest block with this hash
	head, tail int32             // free list
	free       int               // its length
	evictions  int64             // blocks evicted for room
	evicted    func(hash uint64) // called for each eviction; may be nil
}

func newBlockCache(blocks int) *blockCache {
	c := &blockCache{blocks: make([]kvBlock, blocks), byHash: make(map[uint64]int32), head: none, tail: none}
	for i := range c.blocks {
		c.blocks[i].same = none
		c.pushFree(int32(i))
	}
	return c
}

// acquire takes need blocks for a request: as many cached ones as match
// chain[:maxHits] without a gap, the rest from the free list. It returns the
// blocks, in prompt order, and how many of them were cached; or false, and
// changes nothing, when there is no room.
func (c *blockCache) acquire(chain []uint64, maxHits, need int) (held []int32, hits int, ok bool) {
	maxHits = min(maxHits, len(chain), need)
	freeHits := 0
	for hits < maxHits {
		i, found := c.byHash[chain[hits]]
		if !found {
			break
		}
		if c.blocks[i].ref == 0 {
			freeHits++
		}
		hits++
	}
	if need-hits > c.free-freeHits {
		return nil, 0, false
	}
	held = make([]int32, 0, need)
	for _, hash := range chain[:hits] {
		i := c.byHash[hash]
		if c.blocks[i].ref == 0 {
			c.removeFree(i)
		}
		c.blocks[i].ref++
		held = append(held, i)
	}
	for len(held) < need {
		held = append(held, c.take())
	}
	return held, hits, true
}

// take evicts the least recently freed block and returns it, held once.
func (c *blockCache) take() int32 {
	i := c.head
	c.removeFree(i)
	if c.blocks[i].hashed {
		hash := c.blocks[i].hash
		c.forget(i)
		c.evictions++
		if c.evicted != nil {
			c.evicted(hash)
		}
	}
	c.blocks[i].ref = 1
	return i
}

// commit records that block i, which a request holds, has the KV of the prefix
// with this hash.
func (c *blockCache) commit(i int32, hash uint64) {
	b := &c.blocks[i]
	if b.hashed {
		return
	}
	b.hashed, b.hash, b.same = true, hash, none
	first, found := c.byHash[hash]
	if !found {
		c.byHash[hash] = i
		return
	}
	for c.blocks[first].same != none {
		first = c.blocks[first].same
	}
	c.blocks[first].same = i
}

// release frees a request's blocks, the last one first.
func (c *blockCache) release(held []int32) {
	for n := len(held) - 1; n >= 0; n-- {
		b := &c.blocks[held[n]]
		if b.ref--; b.ref == 0 {
			c.pushFree(held[n])
		}
	}
}

// clear forgets all content; requests keep the blocks that they hold.
func (c *blockCache) clear() {
	clear(c.byHash)
	for i := range c.blocks {
		c.blocks[i].hashed, c.blocks[i].same = false, none
	}
}

// forget unlinks block i from the blocks of its hash.
func (c *blockCache) forget(i int32) {
	b := &c.blocks[i]
	switch first := c.byHash[b.hash]; {
	case first == i && b.same == none:
		delete(c.byHash, b.hash)
	case first == i:
		c.byHash[b.hash] = b.same
	default:
		for c.blocks[first].same != i {
			first = c.blocks[first].same
		}
		c.blocks[first].same = b.same
	}
	b.hashed, b.same = false, none
}

func (c *blockCache) pushFree(i int32) {
	b := &c.blocks[i]
	b.prev, b.next = c.tail, none
	if c.tail == none {
		c.head = i
	} else {
		c.blocks[c.tail].next = i
	}
	c.tail = i
	c.free++
}

func (c *blockCache) removeFree(i int32) {
	b := &c.blocks[i]
	if b.prev == none {
		c.head = b.next
	} else {
		c.blocks[b.prev].next = b.next
	}
	if b.next == none {
		c.tail = b.prev
	} else {
		c.blocks[b.next].prev = b.prev
	}
	c.free--
}
