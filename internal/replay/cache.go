// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"slices"
	"sort"
)

// cache is an engine's KV cache: blocks by hash. Running requests pin theirs;
// the others are in a ring, in the order in which they were released. Caches
// are most of a replay's work, so the blocks are a hash table of their own.
type cache struct {
	capacity int     // blocks
	pinned   int     // blocks with refs > 0
	blocks   []block // [0] is the head of the ring of unpinned blocks
	buckets  []int32 // first block of each bucket, 0: none; a power of two of them
}

type block struct {
	hash       uint64
	refs       int32
	prev, next int32 // ring of unpinned blocks: next of the head is the oldest
	other      int32 // next block in the bucket, 0: none
}

func newCache(capacity int) *cache {
	const start = 1 << 10
	return &cache{capacity: max(1, capacity), blocks: make([]block, 1, start), buckets: make([]int32, start)}
}

// bucket returns the head of the list of blocks that a hash belongs to.
func (c *cache) bucket(hash uint64) *int32 {
	const golden = 0x9e3779b97f4a7c15 // spreads any hash over the upper bits (Knuth)
	return &c.buckets[(hash*golden>>32)&uint64(len(c.buckets)-1)]
}

// find returns the block with a hash, 0 if the cache does not hold it.
func (c *cache) find(hash uint64) int32 {
	i := *c.bucket(hash)
	for i != 0 && c.blocks[i].hash != hash {
		i = c.blocks[i].other
	}
	return i
}

// match returns how many leading blocks of the chain the cache holds.
func (c *cache) match(chain []uint64) int {
	return heldPrefix(chain, func(h uint64) bool { return c.find(h) != 0 })
}

// heldPrefix returns how many leading blocks of a chain are held, where a held
// block implies all blocks before it. Most matches are short, so it doubles the
// length until a block is missing, and searches the last interval.
func heldPrefix(chain []uint64, held func(uint64) bool) int {
	bound := 1
	for bound <= len(chain) && held(chain[bound-1]) {
		bound *= 2
	}
	low, high := bound/2, min(bound-1, len(chain))
	return low + sort.Search(high-low, func(i int) bool { return !held(chain[low+i]) })
}

// usage is the share of the capacity that is pinned.
func (c *cache) usage() float64 { return float64(c.pinned) / float64(c.capacity) }

// acquire pins the blocks of a chain and creates the missing ones. It appends
// the pinned blocks to dst, which is empty, and returns how many of the chain's
// blocks it found. Without room for the whole chain it pins nothing; with force
// it pins as many blocks as fit.
func (c *cache) acquire(dst []int32, chain []uint64, force bool) (pinned []int32, matched int) {
	dst = slices.Grow(dst, len(chain))
	idle := 0
	for _, h := range chain {
		i := c.find(h)
		if i == 0 {
			break
		}
		if c.blocks[i].refs == 0 {
			idle++
		}
		dst = append(dst, i)
	}
	matched = len(dst)
	if room := c.capacity - c.pinned - idle; len(chain)-matched > room {
		if !force {
			return dst[:0], matched
		}
		chain = chain[:matched+max(0, room)]
	}
	// Pin the held blocks first, because inserting the others may evict.
	for _, i := range dst {
		c.pin(i)
	}
	for _, h := range chain[matched:] {
		i := c.insert(h)
		c.pin(i)
		dst = append(dst, i)
	}
	return dst, matched
}

// release unpins the blocks that acquire returned, the last one first, so that
// a prompt's end is evicted before its beginning.
func (c *cache) release(pinned []int32) {
	for _, i := range slices.Backward(pinned) {
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

// insert adds a block, unpinned and linked to itself, in the place of the oldest
// one when the cache is full.
func (c *cache) insert(hash uint64) int32 {
	i := int32(len(c.blocks))
	if len(c.blocks) > c.capacity {
		i = c.blocks[0].next // the oldest
		c.unlink(&c.blocks[i])
		c.removeFromBucket(i)
	} else {
		c.blocks = append(c.blocks, block{})
		if 2*len(c.blocks) > len(c.buckets) {
			c.growBuckets()
		}
	}
	first := c.bucket(hash)
	c.blocks[i] = block{hash: hash, prev: i, next: i, other: *first}
	*first = i
	return i
}

func (c *cache) removeFromBucket(i int32) {
	at := c.bucket(c.blocks[i].hash)
	for *at != i {
		at = &c.blocks[*at].other
	}
	*at = c.blocks[i].other
}

// growBuckets doubles the buckets. The newest block is not in one yet.
func (c *cache) growBuckets() {
	c.buckets = make([]int32, 2*len(c.buckets))
	for i := int32(1); i < int32(len(c.blocks)-1); i++ {
		first := c.bucket(c.blocks[i].hash)
		c.blocks[i].other, *first = *first, i
	}
}
