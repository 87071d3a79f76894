// SPDX-License-Identifier: Apache-2.0

package kvindex

// expiryQueue holds the keys of one feed in one tier by the time they were stored,
// oldest first. Each stands for one copy. The zero value is empty.
type expiryQueue struct {
	first, last chunkRef
	keys        int
}

// put enters keys that are stored now, in seconds, and returns the number that there
// was room for.
func (q *expiryQueue) put(c *chunkPool, now int64, keys []uint64) (n int) {
	for n < len(keys) {
		var last chunk
		if q.last != 0 {
			last = c.chunk(q.last)
		}
		if last == nil || last.time() != now || last.count() == chunkKeys {
			ref := c.alloc()
			if ref == 0 {
				return n
			}
			if q.last == 0 {
				q.first = ref
			} else {
				last.setNext(ref)
			}
			q.last = ref
			last = c.chunk(ref)
			last.reset(now)
		}
		k := last.add(keys[n:])
		n += k
		q.keys += k
	}
	return n
}

// oldest returns the time at which the first keys were stored, if there are any.
func (q *expiryQueue) oldest(c *chunkPool) (at int64, ok bool) {
	if q.first == 0 {
		return 0, false
	}
	return c.chunk(q.first).time(), true
}

// pop removes the oldest keys, at most a chunk of them, and appends them to dst.
func (q *expiryQueue) pop(c *chunkPool, dst []uint64) []uint64 {
	if q.first == 0 {
		return dst
	}
	oldest := c.chunk(q.first)
	for i := range oldest.count() {
		dst = append(dst, oldest.key(i))
		q.keys--
	}
	ref := q.first
	q.first = oldest.next()
	if q.first == 0 {
		q.last = 0
	}
	c.release(ref)
	return dst
}

// clear removes all keys.
func (q *expiryQueue) clear(c *chunkPool) {
	for q.first != 0 {
		ref := q.first
		q.first = c.chunk(ref).next()
		c.release(ref)
	}
	*q = expiryQueue{}
}
