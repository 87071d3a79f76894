// SPDX-License-Identifier: Apache-2.0

package radixcache

import (
	"math/bits"
	"sync/atomic"
)

// table finds things by hash: runs by the hash of their first block, and blocks
// by what engines call them. It hashes linearly (Litwin, VLDB 1980): it grows
// and shrinks by one bucket at a time, so there is never a pause for a whole
// table. A bucket is one line of seven slots and the line number of an overflow
// bucket. A slot is a word that is not 0; its upper bits are those of its hash.
//
// Slots are set and cleared in place, one atomic word each. What moves slots
// (split and merge of buckets, overflow buckets given back) happens between two
// changes of shape, whose upper half a reader compares before and after.
type hashTable struct {
	arena   *arena
	hashOf  func(slot uint64) uint64
	state   atomic.Uint64 // version<<32 | buckets; the version is odd while slots move
	chunks  atomic.Pointer[[]atomic.Uint32]
	entries int
}

const (
	bucketsPerChunk = 32
	bucketSlots     = lineWords - 1
	minBuckets      = bucketsPerChunk
	growAt          = 5 // entries a bucket
	shrinkAt        = 3
	minChunks       = 16
)

type bucket = [lineWords]atomic.Uint64

func (x *hashTable) init(a *arena, hashOf func(slot uint64) uint64) {
	x.arena, x.hashOf = a, hashOf
	x.sizeChunks(minChunks)
}

// sizeChunks gives the list of chunks another size.
func (x *hashTable) sizeChunks(n int) {
	c := make([]atomic.Uint32, n)
	if old := x.chunks.Load(); old != nil {
		x.arena.work += min(n, len(*old)) / lineWords
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

func (x *hashTable) buckets() uint32 { return uint32(x.state.Load()) }

func (x *hashTable) bucket(b uint32) *bucket {
	return x.arena.line((*x.chunks.Load())[b/bucketsPerChunk].Load() + b%bucketsPerChunk)
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
	if ref := uint32(b[bucketSlots].Load()); ref != 0 {
		return x.arena.line(ref)
	}
	return nil
}

// replace puts a slot in the place of another of the same hash.
func (x *hashTable) replace(h, old, slot uint64) {
	x.arena.work++
	for b := x.first(h); b != nil; b = x.next(b) {
		for i := range bucketSlots {
			if b[i].Load() == old {
				b[i].Store(slot)
				return
			}
		}
	}
}

// enter adds a slot. There is room for an overflow bucket (see reserve).
func (x *hashTable) insert(h, slot uint64) {
	x.arena.work++
	if x.entries >= growAt*int(x.buckets()) {
		x.addBucket()
	}
	x.put(bucketOf(h, x.buckets()), slot)
	x.entries++
}

func (x *hashTable) put(to uint32, slot uint64) {
	b := x.bucket(to)
	for {
		for i := range bucketSlots {
			if b[i].Load() == 0 {
				b[i].Store(slot)
				return
			}
		}
		next := uint32(b[bucketSlots].Load())
		if next == 0 {
			next = x.arena.mustAlloc(kindBucket)
			clearBucket(x.arena.line(next))
			b[bucketSlots].Store(uint64(next))
		}
		b = x.arena.line(next)
	}
}

// leave takes a slot out.
func (x *hashTable) remove(h, slot uint64) {
	x.arena.work++
	var prev *bucket
	for b := x.first(h); b != nil; prev, b = b, x.next(b) {
		for i := range bucketSlots {
			if b[i].Load() != slot {
				continue
			}
			b[i].Store(0)
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

// unchain gives the overflow bucket b, which follows prev, back.
func (x *hashTable) freeOverflow(prev, b *bucket) {
	ref := uint32(prev[bucketSlots].Load())
	prev[bucketSlots].Store(b[bucketSlots].Load())
	x.arena.free(kindBucket, ref)
}

// moving runs f, which moves slots, and leaves n buckets.
func (x *hashTable) moveSlots(n uint32, f func()) {
	s := x.state.Load()
	v := s >> 32
	x.state.Store((v+1)<<32 | s&0xffffffff)
	f()
	x.state.Store((v+2)<<32 | uint64(n))
}

// start makes the first buckets. There is room for a chunk (see reserve).
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

// addBucket splits one bucket in two. Without memory for it nothing happens:
// the chains grow longer until there is.
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
	x.arena.work += 2
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

// spread puts every slot of a bucket where it belongs when there are n buckets.
func (x *hashTable) redistribute(from, n uint32) {
	for b := x.bucket(from); b != nil; b = x.next(b) {
		for i := range bucketSlots {
			s := b[i].Load()
			if s == 0 {
				continue
			}
			if to := bucketOf(x.hashOf(s), n); to != from {
				b[i].Store(0)
				x.put(to, s)
			}
		}
	}
	x.compactChain(from)
}

// close moves the slots of a chain forward and gives back what it then can.
func (x *hashTable) compactChain(chain uint32) {
	to, at := x.bucket(chain), 0
	for b := to; b != nil; b = x.next(b) {
		for i := range bucketSlots {
			s := b[i].Load()
			if s == 0 {
				continue
			}
			if at == bucketSlots {
				to, at = x.next(to), 0
			}
			b[i].Store(0)
			to[at].Store(s)
			at++
		}
	}
	for x.next(to) != nil {
		x.freeOverflow(to, x.next(to))
	}
}

// removeBucket joins the last bucket with the one it came from.
func (x *hashTable) removeBucket() {
	n := x.buckets() - 1
	if n < minBuckets || x.arena.freeObjects[kindBucket] < 2 && x.arena.pagesLeft() == 0 {
		return
	}
	to := bucketOf(uint64(n), n)
	x.arena.work += 2
	x.moveSlots(n, func() {
		for b := x.bucket(n); b != nil; b = x.next(b) {
			for i := range bucketSlots {
				if s := b[i].Load(); s != 0 {
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

// freeChain gives the overflow buckets of b back.
func (x *hashTable) freeChain(b *bucket) {
	for x.next(b) != nil {
		x.freeOverflow(b, x.next(b))
	}
}

func (x *hashTable) freeChunk(i int) {
	c := &(*x.chunks.Load())[i]
	x.arena.free(kindChunk, c.Load())
	c.Store(0)
}

// drop gives all buckets of an empty table back.
func (x *hashTable) freeAll() {
	if x.entries > 0 || x.buckets() == 0 {
		return
	}
	x.moveSlots(0, func() {
		x.arena.work += int(x.buckets())
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

// movedBucket repairs the chain of h after its overflow bucket ref went to to.
func (x *hashTable) movedBucket(h uint64, ref, to uint32) bool {
	for b := x.first(h); b != nil; b = x.next(b) {
		if uint32(b[bucketSlots].Load()) == ref {
			x.moveSlots(x.buckets(), func() { b[bucketSlots].Store(uint64(to)) })
			return true
		}
	}
	return false
}

// movedChunk repairs the list of chunks.
func (x *hashTable) movedChunk(ref, to uint32) bool {
	chunks := *x.chunks.Load()
	for i := range chunks {
		if chunks[i].Load() == ref {
			x.moveSlots(x.buckets(), func() { chunks[i].Store(to) })
			return true
		}
	}
	return false
}

func emptyBucket(b *bucket) bool {
	for i := range bucketSlots {
		if b[i].Load() != 0 {
			return false
		}
	}
	return true
}

func clearBucket(b *bucket) {
	for i := range b {
		b[i].Store(0)
	}
}

// A slot of the index of runs has the upper half of the hash of the run's first
// block above the run's line number.
func runSlot(h uint64, ref uint32) uint64 { return h&^0xffffffff | uint64(ref) }

// find returns the run that starts with h at depth, or 0. The caller holds mu.
func (t *Tree) findRun(h uint64, depth int) uint32 {
	t.addWork(1)
	for b := t.index.first(h); b != nil; b = t.index.next(b) {
		for i := range bucketSlots {
			if s := b[i].Load(); s != 0 && (s^h)>>32 == 0 {
				if r := t.run(uint32(s)); r.head.Load() == h && r.depth() == depth {
					return uint32(s)
				}
			}
		}
	}
	return 0
}
