// SPDX-License-Identifier: Apache-2.0

package radixcache

// The claims of an upstream are in a list by age. A claim is always older there
// than its parent claim.

// startOperation gives an operation its stamp: the time, but later than all other
// stamps.
func (t *Tree) startOperation() uint64 {
	t.floor = t.newStamp()
	return t.floor
}

// newStamp gives the operation under way a later stamp. Others may have made claims
// meanwhile, and the claims that it touches must be younger than theirs.
func (t *Tree) newStamp() uint64 {
	t.latest = max(t.latest+1, uint64(t.clock()))
	t.stamp = t.latest
	return t.stamp
}

// childStamp is the stamp of a claim that is made or confirmed under a parent
// claim: the parent's, which may be later than the operation's.
func (t *Tree) childStamp(parent uint32) uint64 {
	if parent == 0 {
		return t.stamp
	}
	return t.claim(parent).stamp.Load()
}

// touch makes a claim as young as this operation, next to its parent claim, which
// was just touched itself. parent 0 is for the first.
func (t *Tree) touch(u *upstream, ref, parent uint32) {
	c := t.claim(ref)
	c.stamp.Store(t.childStamp(parent))
	if c.younger.Load() == parent {
		return // also true of the youngest with parent 0
	}
	t.unlinkAge(u, c)
	t.linkAgeBefore(u, ref, parent)
}

// touchUp makes a claim and all its parent claims as young as this operation.
func (t *Tree) touchUp(u *upstream, ref uint32) {
	for ; ref != 0; ref = t.parentClaim(t.claim(ref)) {
		t.touch(u, ref, 0)
	}
}

// unlinkAge takes a claim out of the list.
func (t *Tree) unlinkAge(u *upstream, c *claim) {
	older, younger := c.older.Load(), c.younger.Load()
	t.setYounger(u, older, younger)
	t.setOlder(u, younger, older)
}

// linkAgeBefore puts a claim into the list, next to ref on its older side; ref 0
// makes it the youngest.
func (t *Tree) linkAgeBefore(u *upstream, add, ref uint32) {
	a := t.claim(add)
	older := u.youngest
	if ref != 0 {
		older = t.claim(ref).older.Load()
	}
	a.older.Store(older)
	a.younger.Store(ref)
	t.setYounger(u, older, add)
	t.setOlder(u, ref, add)
}

// linkAgeAfter puts a claim into the list, next to ref on its younger side.
func (t *Tree) linkAgeAfter(u *upstream, add, ref uint32) {
	t.linkAgeBefore(u, add, t.claim(ref).younger.Load())
}

// setYounger links ref to the next younger claim; ref 0 is the end of the list.
func (t *Tree) setYounger(u *upstream, ref, younger uint32) {
	if ref != 0 {
		t.claim(ref).younger.Store(younger)
	} else {
		u.oldest = younger
	}
}

// setOlder links ref to the next older claim; ref 0 is the end of the list.
func (t *Tree) setOlder(u *upstream, ref, older uint32) {
	if ref != 0 {
		t.claim(ref).older.Store(older)
	} else {
		u.youngest = older
	}
}

// The upstreams with claims are in a heap by the stamp of their oldest claim. A
// heap key is a lower bound, because stamps only grow. It is corrected at the end
// of an operation that confirms claims, or when it comes to the top.

// pushHeap puts an upstream that has claims into the heap.
func (t *Tree) pushHeap(u *upstream) {
	if u.inHeap {
		return
	}
	u.inHeap = true
	u.heapKey = t.claim(u.oldest).stamp.Load()
	t.heap = append(t.heap, 0)
	t.siftUp(len(t.heap)-1, u)
}

// siftUp puts u at place i or, while its key is smaller, above.
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

// siftDown moves the upstream at place i below those with smaller keys.
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

// updateHeapKey corrects the key of u after its oldest claim has become another.
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
