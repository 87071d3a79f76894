// SPDX-License-Identifier: Apache-2.0

package radixcache

import (
	"math/bits"
	"sync/atomic"
)

// hashTable finds runs by the hash of their first block, and blocks by the key
// that the engine gave them. It hashes linearly (Litwin, VLDB 1980): it grows and
// shrinks by one bucket at a time, so there is never a pause for a whole table.
//
// Slots are set and cleared in place, one atomic word each. What moves slots
// (split and merge of buckets, freed overflow buckets) happens between two changes
// of state, whose version a reader compares before and after.
type hashTable struct {
	arena   *arena
	hashOf  func(slot uint64) uint64
	state   atomic.Uint64                   // see tableState
	chunks  atomic.Pointer[[]atomic.Uint32] // each of bucketsPerChunk buckets, one behind the other
	entries int
}

const (
	bucketsPerChunk = 32
	minBuckets      = bucketsPerChunk
	growAt          = 5 // entries a bucket
	shrinkAt        = 3
	minChunks       = 16
)

func (x *hashTable) init(a *arena, hashOf func(slot uint64) uint64) {
	x.arena, x.hashOf = a, hashOf
	x.sizeChunks(minChunks)
}

// sizeChunks gives the list of chunks another size.
func (x *hashTable) sizeChunks(n int) {
	c := make([]atomic.Uint32, n)
	if old := x.chunks.Load(); old != nil {
		x.arena.addWork(min(n, len(*old)) / lineWords)
		for i := range min(n, len(*old)) {
			c[i].Store((*old)[i].Load())
		}
	}
	x.chunks.Store(&c)
}

func (x *hashTable) chunkBytes() int64 { return int64(len(*x.chunks.Load())) * 4 }

// bucketOf is the bucket of h when there are n.
func bucketOf(h uint64, n uint32) uint32 {
	m := uint32(1)<<(bits.Len32(n)-1)<<1 - 1
	if b := uint32(h) & m; b < n {
		return b
	}
	return uint32(h) & (m >> 1)
}

func (x *hashTable) loadState() tableState { return tableState(x.state.Load()) }
func (x *hashTable) buckets() uint32       { return x.loadState().buckets() }

func (x *hashTable) bucket(b uint32) *bucket {
	return x.arena.bucket((*x.chunks.Load())[b/bucketsPerChunk].Load() + b%bucketsPerChunk)
}

// first returns the bucket of h, nil when there is none.
func (x *hashTable) first(h uint64) *bucket {
	if n := x.buckets(); n > 0 {
		return x.bucket(bucketOf(h, n))
	}
	return nil
}

// next returns the overflow bucket of b, nil when there is none.
func (x *hashTable) next(b *bucket) *bucket {
	if ref := b.next(); ref != 0 {
		return x.arena.bucket(ref)
	}
	return nil
}

// replace puts a slot in the place of another of the same hash.
func (x *hashTable) replace(h, old, slot uint64) {
	x.arena.addWork(1)
	for b := x.first(h); b != nil; b = x.next(b) {
		for i := range b.slots {
			if b.slots[i].Load() == old {
				b.slots[i].Store(slot)
				return
			}
		}
	}
}

// insert adds a slot. An overflow bucket is reserved.
func (x *hashTable) insert(h, slot uint64) {
	x.arena.addWork(1)
	if x.entries >= growAt*int(x.buckets()) {
		x.addBucket()
	}
	x.put(bucketOf(h, x.buckets()), slot)
	x.entries++
}

func (x *hashTable) put(to uint32, slot uint64) {
	b := x.bucket(to)
	for {
		for i := range b.slots {
			if b.slots[i].Load() == 0 {
				b.slots[i].Store(slot)
				return
			}
		}
		next := b.next()
		if next == 0 {
			next = x.arena.mustAlloc(kindBucket)
			clearBucket(x.arena.bucket(next))
			b.overflow.Store(uint64(next))
		}
		b = x.arena.bucket(next)
	}
}

// remove takes a slot out.
func (x *hashTable) remove(h, slot uint64) {
	x.arena.addWork(1)
	var prev *bucket
	for b := x.first(h); b != nil; prev, b = b, x.next(b) {
		for i := range b.slots {
			if b.slots[i].Load() != slot {
				continue
			}
			b.slots[i].Store(0)
			x.entries--
			if prev != nil && emptyBucket(b) {
				x.moveSlots(x.buckets(), func() { x.freeOverflow(prev, b) })
			}
			if x.entries < shrinkAt*int(x.buckets()) {
				x.removeBucket()
			}
			return
		}
	}
}

// freeOverflow frees the overflow bucket b, which follows prev.
func (x *hashTable) freeOverflow(prev, b *bucket) {
	ref := prev.next()
	prev.overflow.Store(b.overflow.Load())
	x.arena.free(kindBucket, ref)
}

// moveSlots runs f, which moves slots, and leaves n buckets.
func (x *hashTable) moveSlots(n uint32, f func()) {
	s := x.loadState()
	s = s.next(s.buckets())
	x.state.Store(uint64(s))
	f()
	x.state.Store(uint64(s.next(n)))
}

// addFirstBuckets allocates the first buckets. A chunk is reserved.
func (x *hashTable) addFirstBuckets() bool {
	if !x.addChunk(0) {
		return false
	}
	for b := range uint32(minBuckets) {
		clearBucket(x.bucket(b))
	}
	x.moveSlots(minBuckets, func() {})
	return true
}

// addBucket splits one bucket in two. Without memory for it nothing happens, and
// the chains of overflow buckets grow until there is.
func (x *hashTable) addBucket() {
	n := x.buckets()
	if n%bucketsPerChunk == 0 && !x.addChunk(int(n/bucketsPerChunk)) {
		return
	}
	from := bucketOf(uint64(n), n)
	overflows := 0
	for b := x.bucket(from); b != nil; b = x.next(b) {
		overflows++
	}
	if overflows > x.arena.freeObjects[kindBucket]-2 {
		return // the new bucket might need as many again
	}
	x.arena.addWork(2)
	x.moveSlots(n+1, func() {
		clearBucket(x.bucket(n))
		x.redistribute(from, n+1)
	})
}

func (x *hashTable) addChunk(i int) bool {
	chunks := *x.chunks.Load()
	if i >= len(chunks) {
		return false // reserve makes the list longer in time
	}
	if chunks[i].Load() == 0 { // else left by an attempt that was given up
		chunks[i].Store(x.arena.alloc(kindChunk))
	}
	return chunks[i].Load() != 0
}

// redistribute puts every slot of a bucket where it belongs when there are n
// buckets.
func (x *hashTable) redistribute(from, n uint32) {
	for b := x.bucket(from); b != nil; b = x.next(b) {
		for i := range b.slots {
			s := b.slots[i].Load()
			if s == 0 {
				continue
			}
			if to := bucketOf(x.hashOf(s), n); to != from {
				b.slots[i].Store(0)
				x.put(to, s)
			}
		}
	}
	x.compactChain(from)
}

// compactChain moves the slots of a chain of overflow buckets forward and frees
// the buckets that are empty then.
func (x *hashTable) compactChain(chain uint32) {
	to, at := x.bucket(chain), 0
	for b := to; b != nil; b = x.next(b) {
		for i := range b.slots {
			s := b.slots[i].Load()
			if s == 0 {
				continue
			}
			if at == bucketSlots {
				to, at = x.next(to), 0
			}
			b.slots[i].Store(0)
			to.slots[at].Store(s)
			at++
		}
	}
	x.freeChain(to)
}

// removeBucket joins the last bucket with the one it was split from.
func (x *hashTable) removeBucket() {
	n := x.buckets() - 1
	if n < minBuckets || x.arena.freeObjects[kindBucket] < 2 && x.arena.pagesLeft() == 0 {
		return
	}
	to := bucketOf(uint64(n), n)
	x.arena.addWork(2)
	x.moveSlots(n, func() {
		for b := x.bucket(n); b != nil; b = x.next(b) {
			for i := range b.slots {
				if s := b.slots[i].Load(); s != 0 {
					x.put(to, s)
				}
			}
		}
		x.freeChain(x.bucket(n))
		if n%bucketsPerChunk == 0 {
			x.freeChunk(int(n / bucketsPerChunk))
		}
	})
}

// freeChain frees the overflow buckets of b.
func (x *hashTable) freeChain(b *bucket) {
	for next := x.next(b); next != nil; next = x.next(b) {
		x.freeOverflow(b, next)
	}
}

func (x *hashTable) freeChunk(i int) {
	c := &(*x.chunks.Load())[i]
	x.arena.free(kindChunk, c.Load())
	c.Store(0)
}

// freeAll frees all buckets of an empty table.
func (x *hashTable) freeAll() {
	if x.entries > 0 || x.buckets() == 0 {
		return
	}
	x.moveSlots(0, func() {
		x.arena.addWork(int(x.buckets()))
		for b := range x.buckets() {
			x.freeChain(x.bucket(b))
		}
		chunks := *x.chunks.Load()
		for i := range chunks {
			if chunks[i].Load() != 0 {
				x.freeChunk(i)
			}
		}
	})
}

// movedBucket corrects the chain of h after an overflow bucket has moved.
func (x *hashTable) movedBucket(h uint64, from, to uint32) bool {
	for b := x.first(h); b != nil; b = x.next(b) {
		if b.next() == from {
			x.moveSlots(x.buckets(), func() { b.overflow.Store(uint64(to)) })
			return true
		}
	}
	return false
}

// movedChunk corrects the list of chunks after one has moved.
func (x *hashTable) movedChunk(from, to uint32) bool {
	chunks := *x.chunks.Load()
	for i := range chunks {
		if chunks[i].Load() == from {
			x.moveSlots(x.buckets(), func() { chunks[i].Store(to) })
			return true
		}
	}
	return false
}

func emptyBucket(b *bucket) bool {
	for i := range b.slots {
		if b.slots[i].Load() != 0 {
			return false
		}
	}
	return true
}

func clearBucket(b *bucket) {
	for i := range b.slots {
		b.slots[i].Store(0)
	}
	b.overflow.Store(0)
}
