// SPDX-License-Identifier: Apache-2.0

package radixcache

// The upstreams that have claims are in a heap by the stamp of their oldest
// claim. Its keys are lower bounds, as stamps only grow: a key is put right at the
// end of an operation that confirms claims, or when it comes to the top.

// queue puts an upstream that has claims into the heap.
func (t *Tree) queue(u *upstream) {
	if u.queued {
		return
	}
	u.queued = true
	u.key = t.claim(u.oldest).stamp.Load()
	t.heap = append(t.heap, 0)
	t.rise(len(t.heap)-1, u)
}

// rise puts u at place i or, while its key is smaller, above.
func (t *Tree) rise(i int, u *upstream) {
	for i > 0 {
		p := (i - 1) / 2
		if t.ups[t.heap[p]].key <= u.key {
			break
		}
		t.seat(i, t.ups[t.heap[p]])
		i = p
	}
	t.seat(i, u)
}

// seat puts u at place i.
func (t *Tree) seat(i int, u *upstream) {
	t.heap[i], u.seat = uint16(u.slot), i
}

func (t *Tree) unqueue(u *upstream) {
	if u.queued {
		t.unqueueAt(u.seat)
	}
}

func (t *Tree) unqueueAt(i int) {
	t.ups[t.heap[i]].queued = false
	n := len(t.heap) - 1
	last := t.ups[t.heap[n]]
	t.heap = t.heap[:n]
	if i < n {
		t.rise(i, last)
		t.sink(last.seat)
	}
}

func (t *Tree) sink(i int) {
	t.did(1)
	u := t.ups[t.heap[i]]
	for {
		c := 2*i + 1
		if c >= len(t.heap) {
			break
		}
		if c+1 < len(t.heap) && t.ups[t.heap[c+1]].key < t.ups[t.heap[c]].key {
			c++
		}
		if u.key <= t.ups[t.heap[c]].key {
			break
		}
		t.seat(i, t.ups[t.heap[c]])
		i = c
	}
	t.seat(i, u)
}

// rekey puts the key of u right after its oldest claim has become another.
// Operations that make claims younger do it at their end, so that it never has to
// be done for many upstreams at once.
func (t *Tree) rekey(u *upstream) {
	if !u.queued || u.oldest == 0 {
		return
	}
	if stamp := t.claim(u.oldest).stamp.Load(); stamp != u.key {
		u.key = stamp
		t.sink(u.seat)
	}
}

// oldest returns the upstream that has the oldest claim, or nil.
func (t *Tree) oldest() *upstream {
	for len(t.heap) > 0 {
		u := t.ups[t.heap[0]]
		if u.oldest == 0 {
			t.unqueueAt(0)
			continue
		}
		if t.claim(u.oldest).stamp.Load() == u.key {
			return u
		}
		t.rekey(u)
	}
	return nil
}

// evict drops the oldest claim of all. It leaves alone what was made since the
// operation under way has begun: then there is nothing left to evict for it.
func (t *Tree) evict() bool {
	if t.left != nil {
		t.dropLeft()
		return true
	}
	u := t.oldest()
	if u == nil || u.key >= t.floor {
		return false
	}
	t.dropClaim(u.leaf())
	if u.hollow != 0 {
		t.left = u
	}
	t.evicted.put(u.slot, true)
	t.evictions++
	return true
}

// reserve makes room for need objects by evicting and by clearing pages. done
// says that there is room; still that nothing in the tree has moved for it, and
// nobody else was let in.
func (t *Tree) reserve(need *[kinds]int) (done, still bool) {
	t.growLists()
	if t.pagesLeft() >= t.pagesFor(need) {
		return true, true
	}
	for t.left != nil || t.pagesLeft() < t.pagesFor(need) {
		if t.left != nil {
			t.evict()
		} else if !t.clearSparse(need) && !t.evict() {
			return false, false
		}
		if t.tired() {
			t.yield()
			t.growLists()
		}
	}
	return true, false
}

// dropLeft goes on with an eviction that was too long for one go.
func (t *Tree) dropLeft() {
	u := t.left
	if u.hollow != 0 {
		t.dropClaim(u.hollow)
	}
	if u.hollow == 0 {
		t.left = nil
	}
}

// start makes the first buckets of a table.
func (t *Tree) start(x *table) bool {
	var need [kinds]int
	need[kindChunk] = 1
	done, _ := t.reserve(&need)
	return done && (x.buckets() > 0 || x.start())
}
