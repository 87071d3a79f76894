// SPDX-License-Identifier: Apache-2.0

package kvindex

import "sync/atomic"

type uint64Word = atomic.Uint64

// queue is the keys of one feed in one tier by the time they were stored, oldest
// first: each stands for one copy. The zero value is empty.
type expiryQueue struct {
	first, last chunkRef
	keys        int
}

// put enters keys that are stored now, a number of seconds, and returns how many
// there was room for.
func (q *expiryQueue) put(c *chunkPool, now int64, keys []uint64) (n int) {
	for n < len(keys) {
		var w []uint64Word
		if q.last != 0 {
			w = c.words(q.last)
		}
		if w == nil || int64(w[1].Load()>>8) != now || w[1].Load()&0xff == chunkKeys {
			ref := c.alloc()
			if ref == 0 {
				return n
			}
			if q.last == 0 {
				q.first = ref
			} else {
				w[0].Store(uint64(ref))
			}
			q.last = ref
			w = c.words(ref)
			w[0].Store(0)
			w[1].Store(uint64(now) << 8)
		}
		had := int(w[1].Load() & 0xff)
		k := min(chunkKeys-had, len(keys)-n)
		for i, key := range keys[n : n+k] {
			w[2+had+i].Store(key)
		}
		w[1].Store(w[1].Load() + uint64(k))
		n += k
		q.keys += k
	}
	return n
}

// oldest is when the first keys were stored; ok is false when there are none.
func (q *expiryQueue) oldest(c *chunkPool) (at int64, ok bool) {
	if q.first == 0 {
		return 0, false
	}
	return int64(c.words(q.first)[1].Load() >> 8), true
}

// pop takes the oldest keys out, at most a chunk of them.
func (q *expiryQueue) pop(c *chunkPool, dst []uint64) []uint64 {
	if q.first == 0 {
		return dst
	}
	w := c.words(q.first)
	for i := range int(w[1].Load() & 0xff) {
		dst = append(dst, w[2+i].Load())
		q.keys--
	}
	ref := q.first
	q.first = chunkRef(w[0].Load())
	if q.first == 0 {
		q.last = 0
	}
	c.release(ref)
	return dst
}

// drop takes all keys out.
func (q *expiryQueue) clear(c *chunkPool) {
	for q.first != 0 {
		ref := q.first
		q.first = chunkRef(c.words(ref)[0].Load())
		c.release(ref)
	}
	*q = expiryQueue{}
}
