// SPDX-License-Identifier: Apache-2.0

package radixcache

// The upstreams that have claims are in a heap by the stamp of their oldest
// claim. Its keys are lower bounds, as stamps only grow: a key is put right when
// it comes to the top, and confirming a claim costs the heap nothing.

// queue puts an upstream that has claims into the heap.
func (t *Tree) queue(u *upstream) {
	if u.queued {
		return
	}
	u.queued = true
	u.key = t.claim(u.oldest).stamp.Load()
	t.heap = append(t.heap, uint16(u.slot))
	for i := len(t.heap) - 1; i > 0; {
		p := (i - 1) / 2
		if t.ups[t.heap[p]].key <= t.ups[t.heap[i]].key {
			return
		}
		t.heap[p], t.heap[i] = t.heap[i], t.heap[p]
		i = p
	}
}

func (t *Tree) unqueue(u *upstream) {
	if !u.queued {
		return
	}
	for i, s := range t.heap {
		if int(s) == u.slot {
			t.unqueueAt(i)
			return
		}
	}
}

func (t *Tree) unqueueAt(i int) {
	t.ups[t.heap[i]].queued = false
	n := len(t.heap) - 1
	t.heap[i] = t.heap[n]
	t.heap = t.heap[:n]
	for j := n/2 - 1; j >= 0; j-- { // rare, and the heap is small
		t.sink(j)
	}
}

func (t *Tree) sink(i int) {
	for {
		c := 2*i + 1
		if c >= len(t.heap) {
			return
		}
		if c+1 < len(t.heap) && t.ups[t.heap[c+1]].key < t.ups[t.heap[c]].key {
			c++
		}
		if t.ups[t.heap[i]].key <= t.ups[t.heap[c]].key {
			return
		}
		t.heap[i], t.heap[c] = t.heap[c], t.heap[i]
		i = c
	}
}

// oldest returns the upstream that has the oldest claim, or nil.
func (t *Tree) oldest() *upstream {
	for len(t.heap) > 0 {
		u := t.ups[t.heap[0]]
		if u.oldest == 0 {
			u.queued = false
			n := len(t.heap) - 1
			t.heap[0] = t.heap[n]
			t.heap = t.heap[:n]
			t.sink(0)
			continue
		}
		stamp := t.claim(u.oldest).stamp.Load()
		if stamp == u.key {
			return u
		}
		u.key = stamp
		t.sink(0)
	}
	return nil
}

// evict drops the oldest claim of all. It leaves alone what the operation under
// way has made: then there is nothing left to evict for it.
func (t *Tree) evict() bool {
	u := t.oldest()
	if u == nil || u.key == t.stamp {
		return false
	}
	t.dropClaim(u.oldest)
	t.evicted.put(u.slot, true)
	t.evictions++
	return true
}

// reserve makes room for need objects by evicting and by clearing pages. done
// says that there is room; still that nothing in the tree has moved for it.
func (t *Tree) reserve(need *[kinds]int) (done, still bool) {
	t.growLists()
	if t.pagesLeft() >= t.pagesFor(need) {
		return true, true
	}
	for t.pagesLeft() < t.pagesFor(need) {
		if !t.clearSparse(need) && !t.evict() {
			return false, false
		}
	}
	return true, false
}

// start makes the first buckets of a table.
func (t *Tree) start(x *table) bool {
	var need [kinds]int
	need[kindChunk] = 1
	done, _ := t.reserve(&need)
	return done && x.start()
}
