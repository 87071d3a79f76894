// SPDX-License-Identifier: Apache-2.0

package radixcache

// reserve makes room for need objects by evicting and by clearing pages. done
// says that there is room; still that nothing in the tree has moved for it, and
// that no others were let in.
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

// startTable makes the first buckets of a table.
func (t *Tree) startTable(x *hashTable) bool {
	var need [kinds]int
	need[kindChunk] = 1
	done, _ := t.reserve(&need)
	return done && (x.buckets() > 0 || x.addFirstBuckets())
}

// evict drops the oldest claim of all. It never drops a claim that was made since
// the operation under way began, and returns false when there are no others.
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

// continueEviction goes on with an eviction that was too long for one step.
func (t *Tree) continueEviction() {
	u := t.evicting
	if u.emptyClaim != 0 {
		t.dropClaim(u.emptyClaim)
	}
	if u.emptyClaim == 0 {
		t.evicting = nil
	}
}
