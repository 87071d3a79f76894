// SPDX-License-Identifier: Apache-2.0

package radixcache

import "math/bits"

// Every object can be moved to another line, so no mixture of sizes can keep a
// page, or a segment, half empty for long. After clearing, no kind has more than a
// page of free objects that another kind is waiting for.

// clearSparsePage clears one page of a kind that has more than a page of free
// objects beyond its need.
func (t *Tree) clearSparsePage(need *[kinds]int) bool {
	for k := kindRun; k < kinds; k++ {
		if t.freeObjects[k]-need[k] < perPage[k] {
			continue
		}
		for f := range fullness {
			if pg := t.firstLight(k, t.lists[k][f]); pg != 0 {
				t.closePage(pg - 1)
				t.clearPage(pg-1, false)
				t.reopenPage(pg - 1)
				return true
			}
		}
	}
	return false
}

// When a run moves, everything that refers to it must be corrected: its holders,
// and the claims on its children. A page with more than maxReferrers of these is
// skipped, as long as there are others. At most maxSkipped pages of a list, or
// segments, are skipped.
const (
	maxReferrers = 4096
	maxSkipped   = 16
)

// firstLight returns the first page of a list that may be moved in one step. Pages
// are given as number + 1, 0 is none.
func (t *Tree) firstLight(k kind, pg uint32) uint32 {
	for range maxSkipped {
		if pg == 0 || !t.tooHeavy(pg-1, k) {
			return pg
		}
		pg = t.page(pg - 1).next()
	}
	return 0
}

// tooHeavy tells whether the runs on a page are too much to move in one step.
func (t *Tree) tooHeavy(pg uint32, k kind) bool {
	if k != kindRun {
		return false
	}
	n := 0
	for set := t.objectsInUse(pg); set != 0 && n <= maxReferrers; set &= set - 1 {
		r := t.run(pg*pageLines + uint32(bits.TrailingZeros64(set)))
		n += r.numHolders()
		claims := r.numHolders() * r.numChildren() // the most there can be on its children
		if n+claims > maxReferrers {
			claims = t.countChildClaims(r, maxReferrers-n)
			t.addWork(claims)
		}
		n += claims
	}
	return n > maxReferrers
}

// countChildClaims counts the child claims of those on a run, to a little beyond
// most.
func (t *Tree) countChildClaims(r *run, most int) (n int) {
	for i := 0; i < r.numHolders() && n <= most; i++ {
		c := t.claim(t.holder(r, i).claim())
		for d := c.child.Load(); d != 0 && n <= most; d = t.claim(d).next.Load() {
			n++
		}
	}
	return n
}

// clearPage moves the objects of a closed page, with part only as many as the work
// budget allows, and returns how many are left. Without room for them it evicts.
func (t *Tree) clearPage(pg uint32, part bool) int {
	k := t.page(pg).kind()
	for t.page(pg).live() > 0 && !(part && t.overBudget()) {
		ref := pg*pageLines + uint32(bits.TrailingZeros64(t.objectsInUse(pg)))
		if t.freeObjects[k] == 0 && t.pagesLeft() == 0 && !t.freePageByClearing(k) {
			if !t.evict() {
				t.freeEmptyTables()
				return t.page(pg).live()
			}
			continue // ref itself may be free now
		}
		t.moveObject(k, ref)
	}
	return t.page(pg).live()
}

// freePageByClearing makes room for one object of kind k by clearing a page of
// another kind.
func (t *Tree) freePageByClearing(k kind) bool {
	var need [kinds]int
	need[k] = 1
	for j := kindRun; j < kinds; j++ {
		if j != k && t.freeObjects[j] >= perPage[j] {
			return t.clearSparsePage(&need)
		}
	}
	return false
}

// shrinkStep gives one segment back, or does a part of that, as much as the work
// budget allows. It returns false when there is nothing left to give back.
func (t *Tree) shrinkStep() bool {
	if t.evicting != nil {
		return t.evict()
	}
	if t.claims == 0 {
		t.freeEmptyTables()
	}
	room := t.maxSegs*segLines - int(kinds)*pageLines
	for t.usedLines() > room {
		if t.overBudget() {
			return true
		}
		if !t.evict() {
			break
		}
	}
	seg := t.segmentToVacate()
	if seg < 0 {
		return false
	}
	t.vacateSegment(uint32(seg))
	return true
}

// segmentToVacate returns the segment to give back next: the one begun with, or the
// last without a page too heavy to move, or just the last; -1 when there is none.
func (t *Tree) segmentToVacate() int {
	d := t.dir.Load()
	if v := t.vacating; v >= 0 && v < len(d.segs) && d.segs[v].Load() != nil && t.page(uint32(v*segPages)).closed() {
		return v
	}
	last, looked := -1, 0
	for i := len(d.segs) - 1; i >= 0 && looked < maxSkipped; i-- {
		if d.segs[i].Load() == nil {
			continue
		}
		light := true
		for pg := uint32(i * segPages); pg < uint32(i*segPages+segPages); pg++ {
			light = light && !t.tooHeavy(pg, t.page(pg).kind())
		}
		if looked++; last < 0 || light {
			last = i
		}
		if light {
			break
		}
	}
	t.vacating = last
	return last
}

// usedLines returns the number of lines that the objects in use take.
func (t *Tree) usedLines() (n int) {
	for k := kindRun; k < kinds; k++ {
		n += t.usedObjects[k] * kindLines[k]
	}
	return n
}

// vacateSegment moves the objects out of a segment, or a part of them, and gives
// the segment back when none is left.
func (t *Tree) vacateSegment(seg uint32) {
	first := seg * segPages
	for pg := first; pg < first+segPages; pg++ {
		if !t.page(pg).closed() {
			t.closePage(pg)
		}
	}
	for pg := first; pg < first+segPages; pg++ {
		if t.clearPage(pg, true) > 0 {
			return
		}
	}
	t.dropSegment(seg)
}

// freeEmptyTables frees the tables of an empty tree.
func (t *Tree) freeEmptyTables() {
	t.index.freeAll()
	t.byKey.freeAll()
}
