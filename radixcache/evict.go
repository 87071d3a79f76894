// SPDX-License-Identifier: Apache-2.0

package radixcache

// The upstreams that have claims are in a heap by the stamp of their oldest
// claim. Its keys are lower bounds, as stamps only grow: a key is put right at the
// end of an operation that confirms claims, or when it comes to the top.

// queue puts an upstream that has claims into the heap.
func (t *Tree) pushHeap(u *upstream) {
	if u.inHeap {
		return
	}
	u.inHeap = true
	u.heapKey = t.claim(u.oldest).stamp.Load()
	t.heap = append(t.heap, 0)
	t.siftUp(len(t.heap)-1, u)
}

// rise puts u at place i or, while its key is smaller, above.
func (t *Tree) siftUp(i int, u *upstream) {
	for i > 0 {
		p := (i - 1) / 2
		if t.ups[t.heap[p]].heapKey <= u.heapKey {
			break
		}
		t.setHeap(i, t.ups[t.heap[p]])
		i = p
	}
	t.setHeap(i, u)
}

// seat puts u at place i.
func (t *Tree) setHeap(i int, u *upstream) {
	t.heap[i], u.heapIndex = uint16(u.slot), i
}

func (t *Tree) removeFromHeap(u *upstream) {
	if u.inHeap {
		t.removeHeapAt(u.heapIndex)
	}
}

func (t *Tree) removeHeapAt(i int) {
	t.ups[t.heap[i]].inHeap = false
	n := len(t.heap) - 1
	last := t.ups[t.heap[n]]
	t.heap = t.heap[:n]
	if i < n {
		t.siftUp(i, last)
		t.siftDown(last.heapIndex)
	}
}

func (t *Tree) siftDown(i int) {
	t.addWork(1)
	u := t.ups[t.heap[i]]
	for {
		c := 2*i + 1
		if c >= len(t.heap) {
			break
		}
		if c+1 < len(t.heap) && t.ups[t.heap[c+1]].heapKey < t.ups[t.heap[c]].heapKey {
			c++
		}
		if u.heapKey <= t.ups[t.heap[c]].heapKey {
			break
		}
		t.setHeap(i, t.ups[t.heap[c]])
		i = c
	}
	t.setHeap(i, u)
}

// rekey puts the key of u right after its oldest claim has become another.
// Operations that make claims younger do it at their end, so that it never has to
// be done for many upstreams at once.
func (t *Tree) updateHeapKey(u *upstream) {
	if !u.inHeap || u.oldest == 0 {
		return
	}
	if stamp := t.claim(u.oldest).stamp.Load(); stamp != u.heapKey {
		u.heapKey = stamp
		t.siftDown(u.heapIndex)
	}
}

// oldest returns the upstream that has the oldest claim, or nil.
func (t *Tree) oldest() *upstream {
	for len(t.heap) > 0 {
		u := t.ups[t.heap[0]]
		if u.oldest == 0 {
			t.removeHeapAt(0)
			continue
		}
		if t.claim(u.oldest).stamp.Load() == u.heapKey {
			return u
		}
		t.updateHeapKey(u)
	}
	return nil
}

// evict drops the oldest claim of all. It leaves alone what was made since the
// operation under way has begun: then there is nothing left to evict for it.
func (t *Tree) evict() bool {
	if t.evicting != nil {
		t.continueEviction()
		return true
	}
	u := t.oldest()
	if u == nil || u.heapKey >= t.floor {
		return false
	}
	t.dropClaim(u.nextToDrop())
	if u.emptyClaim != 0 {
		t.evicting = u
	}
	t.evicted.set(u.slot, true)
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
	for t.evicting != nil || t.pagesLeft() < t.pagesFor(need) {
		if t.evicting != nil {
			t.evict()
		} else if !t.clearSparsePage(need) && !t.evict() {
			return false, false
		}
		if t.overBudget() {
			t.yield()
			t.growLists()
		}
	}
	return true, false
}

// dropLeft goes on with an eviction that was too long for one go.
func (t *Tree) continueEviction() {
	u := t.evicting
	if u.emptyClaim != 0 {
		t.dropClaim(u.emptyClaim)
	}
	if u.emptyClaim == 0 {
		t.evicting = nil
	}
}

// start makes the first buckets of a table.
func (t *Tree) startTable(x *hashTable) bool {
	var need [kinds]int
	need[kindChunk] = 1
	done, _ := t.reserve(&need)
	return done && (x.buckets() > 0 || x.addFirstBuckets())
}
