// SPDX-License-Identifier: Apache-2.0

package replay

// cache is an engine's KV cache: blocks by hash, those of running requests
// pinned, the others in the order in which they were let go.
type cache struct {
	capacity int // blocks
	pinned   int // blocks with refs > 0
	index    map[uint64]int32
	blocks   []block // [0] is the head of the ring of unpinned blocks
}

type block struct {
	hash       uint64
	refs       int32
	prev, next int32 // ring of unpinned blocks: next of the head is the oldest
}

func newCache(capacity int) *cache {
	return &cache{capacity: max(1, capacity), index: make(map[uint64]int32), blocks: make([]block, 1, 1024)}
}

// match returns how many blocks of the chain are there from its start.
func (c *cache) match(chain []uint64) int {
	for i, h := range chain {
		if _, ok := c.index[h]; !ok {
			return i
		}
	}
	return len(chain)
}

// usage is the share of the capacity that is pinned.
func (c *cache) usage() float64 { return float64(c.pinned) / float64(c.capacity) }

// acquire pins the blocks of a chain, making those that are missing, and
// returns how many were there from the start and how many it has pinned. When
// there is no room for all it does nothing and pins none; with force it pins
// as many as fit.
func (c *cache) acquire(chain []uint64, force bool) (matched, pinned int) {
	matched = c.match(chain)
	idle := 0
	for _, h := range chain[:matched] {
		if c.blocks[c.index[h]].refs == 0 {
			idle++
		}
	}
	room := c.capacity - c.pinned - idle
	if len(chain)-matched > room {
		if !force {
			return matched, 0
		}
		chain = chain[:matched+max(0, room)]
	}
	// All that is there is pinned first, lest it be evicted for the rest.
	for _, h := range chain {
		if i, ok := c.index[h]; ok {
			c.pin(i)
		}
	}
	for _, h := range chain[matched:] {
		if _, ok := c.index[h]; !ok {
			c.pin(c.insert(h))
		}
	}
	return matched, len(chain)
}

// release lets go of what acquire pinned, the last block first, so that a
// prompt is evicted from its end.
func (c *cache) release(chain []uint64) {
	for k := len(chain) - 1; k >= 0; k-- {
		i := c.index[chain[k]]
		b := &c.blocks[i]
		if b.refs--; b.refs > 0 {
			continue
		}
		c.pinned--
		newest := c.blocks[0].prev
		b.prev, b.next = newest, 0
		c.blocks[newest].next, c.blocks[0].prev = i, i
	}
}

func (c *cache) pin(i int32) {
	b := &c.blocks[i]
	if b.refs == 0 {
		c.pinned++
		c.unlink(b)
	}
	b.refs++
}

func (c *cache) unlink(b *block) {
	c.blocks[b.prev].next, c.blocks[b.next].prev = b.next, b.prev
}

// insert makes room for a block and enters it unpinned, linked to itself.
func (c *cache) insert(hash uint64) int32 {
	i := int32(len(c.blocks))
	if len(c.index) >= c.capacity {
		i = c.blocks[0].next // the oldest
		c.unlink(&c.blocks[i])
		delete(c.index, c.blocks[i].hash)
	} else {
		c.blocks = append(c.blocks, block{})
	}
	c.blocks[i] = block{hash: hash, prev: i, next: i}
	c.index[hash] = i
	return i
}
