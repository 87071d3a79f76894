// SPDX-License-Identifier: Apache-2.0

package radixcache

import (
	"math/bits"
	"sync/atomic"
)

// The index finds a run by the hash of its first block. It is a table by
// linear hashing (Litwin, VLDB 1980): it grows and shrinks by one bucket at a
// time, so there is never a pause for a whole table. A bucket is one line of
// seven slots and the line number of an overflow bucket. A slot has the upper
// half of the hash above the line number of the run.
//
// Slots are set and cleared in place, one atomic word each. What moves slots
// (split and merge of buckets, overflow buckets given back) happens between two
// changes of shape, whose upper half a reader compares before and after.
const (
	bucketsPerChunk = 32
	bucketSlots     = lineWords - 1
	minBuckets      = bucketsPerChunk
	growAt          = 5 // runs a bucket
	shrinkAt        = 3
)

type index struct {
	shape   atomic.Uint64 // version<<32 | buckets; the version is odd while slots move
	entries int
}

// bucketOf is the bucket of h when there are n.
func bucketOf(h uint64, n uint32) uint32 {
	m := uint32(1)<<(bits.Len32(n)-1)<<1 - 1
	if b := uint32(h) & m; b < n {
		return b
	}
	return uint32(h) & (m >> 1)
}

func slotFor(h uint64, ref uint32) uint64 { return h&^0xffffffff | uint64(ref) }

func (t *Tree) bucket(b uint32) *[lineWords]atomic.Uint64 {
	d := t.dir.Load()
	return t.line(d.chunks[b/bucketsPerChunk].Load() + b%bucketsPerChunk)
}

func (t *Tree) buckets() uint32 { return uint32(t.shape.Load()) }

// find returns the run that starts with h at depth, or 0. The caller holds mu.
func (t *Tree) find(h uint64, depth int) uint32 {
	n := t.buckets()
	if n == 0 {
		return 0
	}
	for b := t.bucket(bucketOf(h, n)); ; b = t.line(uint32(b[bucketSlots].Load())) {
		for i := range bucketSlots {
			if s := b[i].Load(); s != 0 && (s^h)>>32 == 0 {
				if r := t.run(uint32(s)); r.head.Load() == h && r.depth() == depth {
					return uint32(s)
				}
			}
		}
		if b[bucketSlots].Load() == 0 {
			return 0
		}
	}
}

// point makes the slot of h that names the run old name the run ref.
func (t *Tree) point(h uint64, old, ref uint32) {
	want := slotFor(h, old)
	for b := t.bucket(bucketOf(h, t.buckets())); ; b = t.line(uint32(b[bucketSlots].Load())) {
		for i := range bucketSlots {
			if b[i].Load() == want {
				b[i].Store(slotFor(h, ref))
				return
			}
		}
	}
}

// enter adds a run. There is room for an overflow bucket (see reserve).
func (t *Tree) enter(h uint64, ref uint32) {
	if t.entries >= growAt*int(t.buckets()) {
		t.addBucket()
	}
	t.put(bucketOf(h, t.buckets()), slotFor(h, ref))
	t.entries++
}

func (t *Tree) put(bucket uint32, slot uint64) {
	b := t.bucket(bucket)
	for {
		for i := range bucketSlots {
			if b[i].Load() == 0 {
				b[i].Store(slot)
				return
			}
		}
		next := uint32(b[bucketSlots].Load())
		if next == 0 {
			next = t.alloc(kindBucket)
			clear64(t.line(next)[:])
			b[bucketSlots].Store(uint64(next))
		}
		b = t.line(next)
	}
}

// leave takes a run out.
func (t *Tree) leave(h uint64, ref uint32) {
	want := slotFor(h, ref)
	var prev *[lineWords]atomic.Uint64
	at := uint32(0)
	for b := t.bucket(bucketOf(h, t.buckets())); ; b = t.line(at) {
		for i := range bucketSlots {
			if b[i].Load() == want {
				b[i].Store(0)
				t.entries--
				t.dropEmpty(prev, b, at)
				if t.entries < shrinkAt*int(t.buckets()) {
					t.removeBucket()
				}
				return
			}
		}
		prev, at = b, uint32(b[bucketSlots].Load())
	}
}

// dropEmpty gives the overflow bucket b at line at back when it has no slots.
func (t *Tree) dropEmpty(prev, b *[lineWords]atomic.Uint64, at uint32) {
	if prev == nil {
		return
	}
	for i := range bucketSlots {
		if b[i].Load() != 0 {
			return
		}
	}
	t.moving(t.buckets(), func(uint32) {
		prev[bucketSlots].Store(b[bucketSlots].Load())
		t.free(kindBucket, at)
	})
}

// moving runs f, which moves slots, and leaves n buckets.
func (t *Tree) moving(n uint32, f func(n uint32)) {
	v := t.shape.Load() >> 32
	t.shape.Store((v+1)<<32 | uint64(t.buckets()))
	f(n)
	t.shape.Store((v+2)<<32 | uint64(n))
}

// addBucket splits one bucket in two. Without memory for it nothing happens:
// the chains grow longer until there is.
func (t *Tree) addBucket() {
	n := t.buckets()
	if n%bucketsPerChunk == 0 && !t.addChunk(n/bucketsPerChunk) {
		return
	}
	clear64(t.bucket(n)[:])
	from := bucketOf(uint64(n), n)
	if t.overflows(from) > t.vacant[kindBucket]-2 {
		return // the new bucket might need as many again
	}
	t.moving(n+1, func(n uint32) { t.spread(from, n) })
}

func (t *Tree) addChunk(i uint32) bool {
	d := t.dir.Load()
	if int(i) >= len(d.chunks) {
		return false // reserve makes it larger in time
	}
	if d.chunks[i].Load() != 0 {
		return true // allocated by an attempt that was given up
	}
	ref := t.alloc(kindChunk)
	d.chunks[i].Store(ref)
	return ref != 0
}

func (t *Tree) overflows(bucket uint32) (n int) {
	for b := t.bucket(bucket); b[bucketSlots].Load() != 0; n++ {
		b = t.line(uint32(b[bucketSlots].Load()))
	}
	return n
}

// spread puts every slot of a bucket where it belongs when there are n buckets.
func (t *Tree) spread(from, n uint32) {
	b, at := t.bucket(from), uint32(0)
	for {
		next := uint32(b[bucketSlots].Load())
		for i := range bucketSlots {
			s := b[i].Load()
			if s == 0 {
				continue
			}
			if to := bucketOf(t.run(uint32(s)).head.Load(), n); to != from || at != 0 {
				b[i].Store(0)
				t.put(to, s) // never further back than where it was
			}
		}
		if at != 0 {
			t.unchain(from, at)
		}
		if next == 0 {
			return
		}
		b, at = t.line(next), next
	}
}

// unchain gives the overflow bucket at line at back if it is empty.
func (t *Tree) unchain(bucket, at uint32) {
	for i := range bucketSlots {
		if t.line(at)[i].Load() != 0 {
			return
		}
	}
	b := t.bucket(bucket)
	for uint32(b[bucketSlots].Load()) != at {
		b = t.line(uint32(b[bucketSlots].Load()))
	}
	b[bucketSlots].Store(t.line(at)[bucketSlots].Load())
	t.free(kindBucket, at)
}

// removeBucket joins the last bucket with the one it came from.
func (t *Tree) removeBucket() {
	n := t.buckets() - 1
	if n < minBuckets {
		return
	}
	to := bucketOf(uint64(n), n)
	if t.vacant[kindBucket] < 2 && t.pagesLeft() == 0 {
		return
	}
	t.moving(n, func(n uint32) {
		for b := t.bucket(n); ; b = t.line(uint32(b[bucketSlots].Load())) {
			for i := range bucketSlots {
				if s := b[i].Load(); s != 0 {
					t.put(to, s)
				}
			}
			if b[bucketSlots].Load() == 0 {
				break
			}
		}
		t.freeChain(t.bucket(n))
		if n%bucketsPerChunk == 0 {
			c := &t.dir.Load().chunks[n/bucketsPerChunk]
			t.free(kindChunk, c.Load())
			c.Store(0)
		}
	})
}

// startIndex makes the first buckets.
func (t *Tree) startIndex() bool {
	var need [kinds]int
	need[kindChunk] = 1
	if done, _ := t.reserve(&need); !done || !t.addChunk(0) {
		return false
	}
	for b := range uint32(minBuckets) {
		clear64(t.bucket(b)[:])
	}
	t.moving(minBuckets, func(uint32) {})
	return true
}

// freeChain gives the overflow buckets of b back.
func (t *Tree) freeChain(b *[lineWords]atomic.Uint64) {
	for at := uint32(b[bucketSlots].Load()); at != 0; {
		next := uint32(t.line(at)[bucketSlots].Load())
		t.free(kindBucket, at)
		at = next
	}
}

func clear64(w []atomic.Uint64) {
	for i := range w {
		w[i].Store(0)
	}
}
