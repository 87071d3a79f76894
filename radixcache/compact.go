// SPDX-License-Identifier: Apache-2.0

package radixcache

import "math/bits"

// Clearing pages: every object can be moved to another line, so no mixture of
// sizes can keep a page, or a segment, half empty for long. After clearing, no
// kind has more than a page of free objects that another kind is waiting for.

// clearSparse empties one page of a kind that has more than a page free beyond
// what is needed of it.
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

// A run that is moved takes telling everybody who knows it by its number: its
// holders, and the claims on its children. maxTold is how much of that is done in
// one go for a whole page; pages that take more are passed over, as long as there
// are others (maxPassed of a list, or of segments, are looked at).
const (
	maxReferrers = 4096
	maxSkipped   = 16
)

// lightest returns the first page, of the list that starts with pg, that may be
// moved in one go; pages are given as number + 1, 0 is none.
func (t *Tree) firstLight(k kind, pg uint32) uint32 {
	for range maxSkipped {
		if pg == 0 || !t.tooHeavy(pg-1, k) {
			return pg
		}
		pg = uint32(t.page(pg-1).links.Load() >> 32)
	}
	return 0
}

// heavy tells whether the runs on a page are too much to move in one go.
func (t *Tree) tooHeavy(pg uint32, k kind) bool {
	if k != kindRun {
		return false
	}
	n := 0
	for set := t.objectsInUse(pg); set != 0 && n <= maxReferrers; set &= set - 1 {
		r := t.run(pg*pageLines + uint32(bits.TrailingZeros64(set)))
		n += r.numHolders()
		if hang := r.numHolders() * r.numChildren(); n+hang > maxReferrers { // else no more can hang there
			hang = t.countChildClaims(r, maxReferrers-n)
			n += hang
			t.addWork(hang)
		} else {
			n += hang
		}
	}
	return n > maxReferrers
}

// hanging counts the claims that hang on those of a run, to a little beyond most.
func (t *Tree) countChildClaims(r *run, most int) (n int) {
	for i := 0; i < r.numHolders() && n <= most; i++ {
		c := t.claim(holderClaim(t.holderAt(r, i).Load()))
		for d := c.child.Load(); d != 0 && n <= most; d = t.claim(d).next.Load() {
			n++
		}
	}
	return n
}

// clearPage moves the objects of a closed page, in part as many as may be done in
// one go, and returns how many are left. Without room for them it evicts.
func (t *Tree) clearPage(pg uint32, part bool) int {
	k := t.page(pg).kind()
	for t.page(pg).live() > 0 && !(part && t.overBudget()) {
		ref := pg*pageLines + uint32(bits.TrailingZeros64(t.objectsInUse(pg)))
		if t.freeObjects[k] == 0 && t.pagesLeft() == 0 && !t.freePageByClearing(k) {
			if !t.evict() {
				t.freeEmptyTables()
				return t.page(pg).live()
			}
			continue // it may have freed the very object
		}
		t.moveObject(k, ref)
	}
	return t.page(pg).live()
}

// pageByClearing makes room for one object of kind k out of other kinds' room.
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

// move puts an object elsewhere. There is a free one of its kind, or a free page.
func (t *Tree) moveObject(k kind, ref uint32) {
	to := t.mustAlloc(k)
	t.addWork(2 + kindLines[k])
	from, dest := t.words(ref, kindLines[k]*lineWords), t.words(to, kindLines[k]*lineWords)
	for i := range from {
		dest[i].Store(from[i].Load())
	}
	switch {
	case k == kindRun:
		t.movedRun(ref, to)
	case k == kindClaim:
		t.movedClaim(ref, to)
	case k == kindBucket:
		t.movedBucket(ref, to)
	case k == kindChunk:
		t.movedChunk(ref, to)
	case k == kindListTable:
		t.movedListTable(ref, to)
	case k < kindHashList:
		t.movedHolderList(ref, to)
	case k < kindRecord:
		t.movedHashList(ref, to)
	default:
		t.claim(uint32(t.line(to)[0].Load())).record.Store(to)
	}
	t.free(k, ref)
}

func (t *Tree) movedRun(ref, to uint32) {
	r := t.run(to)
	h := r.head.Load()
	t.beginWrite(h)
	t.index.replace(h, runSlot(h, ref), runSlot(h, to))
	t.endWrite(h)
	if p := r.parent(); p != 0 {
		t.run(p).removeChild(ref)
		t.run(p).addChild(to)
	}
	t.addWork(r.numHolders())
	for i := range r.numHolders() {
		c := t.claim(holderClaim(t.holderAt(r, i).Load()))
		c.run.Store(to)
		// Every child of the run has a claim that hangs on one of the run's.
		for d := c.child.Load(); d != 0; d = t.claim(d).next.Load() {
			t.run(t.claim(d).run.Load()).setParent(to)
			t.addWork(2)
		}
	}
}

func (t *Tree) movedClaim(ref, to uint32) {
	c := t.claim(to)
	u := t.ups[c.slot.Load()]
	r := t.run(c.run.Load())
	i, e := t.findHolder(r, u.slot)
	t.holderAt(r, i).Store(newHolder(to, u.slot, holderEffective(e), holderCovered(e)))
	if o := c.older.Load(); o != 0 {
		t.claim(o).younger.Store(to)
	} else {
		u.oldest = to
	}
	if y := c.younger.Load(); y != 0 {
		t.claim(y).older.Store(to)
	} else {
		u.youngest = to
	}
	parent := uint32(0)
	if c.prev.Load() == 0 || u.pathEnd != 0 {
		parent = t.parentClaim(c)
	}
	t.movePending(u, parent, ref, to)
	t.replaceSibling(u, ref, to, parent)
	t.movedRecordOwner(ref, to)
}

// movedBucket repairs the table that an overflow bucket, which is never empty,
// belongs to.
func (t *Tree) movedBucket(ref, to uint32) {
	b := t.line(to)
	for i := range bucketSlots {
		s := b[i].Load()
		if s == 0 {
			continue
		}
		if !t.index.movedBucket(t.index.hashOf(s), ref, to) {
			t.byKey.movedBucket(t.byKey.hashOf(s), ref, to)
		}
		return
	}
}

func (t *Tree) movedChunk(ref, to uint32) {
	if !t.index.movedChunk(ref, to) {
		t.byKey.movedChunk(ref, to)
	}
}

// ownerOf returns the run whose holder list starts with the entry e.
func (t *Tree) holderListOwner(e uint64) *run {
	return t.run(t.claim(holderClaim(e)).run.Load())
}

func (t *Tree) movedHolderList(ref, to uint32) {
	r := t.holderListOwner(t.line(to)[0].Load())
	t.beginWrite(r.head.Load())
	defer t.endWrite(r.head.Load())
	if r.class() != classTable {
		r.setHolderList(to)
		return
	}
	for i := range t.words(r.holderList(), listSize) {
		if w := &t.words(r.holderList(), listSize)[i]; uint32(w.Load()) == ref {
			w.Store(uint64(to))
			return
		}
	}
}

func (t *Tree) movedListTable(_, to uint32) {
	r := t.holderListOwner(t.line(uint32(t.line(to)[0].Load()))[0].Load())
	t.beginWrite(r.head.Load())
	r.setHolderList(to)
	t.endWrite(r.head.Load())
}

func (t *Tree) movedHashList(ref, to uint32) {
	r := t.hashListOwner(t.line(to)[0].Load(), ref)
	t.beginWrite(r.head.Load())
	r.setPosition(r.depth(), to)
	t.endWrite(r.head.Load())
}

// bodyOwner returns the run that starts with h and has its hashes at body.
func (t *Tree) hashListOwner(h uint64, body uint32) *run {
	for b := t.index.first(h); b != nil; b = t.index.next(b) {
		for i := range bucketSlots {
			if s := b[i].Load(); s != 0 && (s^h)>>32 == 0 {
				if r := t.run(uint32(s)); r.head.Load() == h && r.hashList() == body {
					return r
				}
			}
		}
	}
	return nil
}

// fitStep gives one segment back, or does a part of that, as much as may be done
// in one go. It returns false when there is nothing left to give back.
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
	if seg := t.segmentToVacate(); seg >= 0 {
		return t.vacateSegment(uint32(seg))
	}
	return false
}

// toVacate returns the segment to give back next: the one begun with, or the last
// that has no page too heavy to move, or just the last; -1 when there is none.
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

// usedLines is how many lines the objects in use take.
func (t *Tree) usedLines() (n int) {
	for k := kindRun; k < kinds; k++ {
		n += t.usedObjects[k] * kindLines[k]
	}
	return n
}

// vacate moves everything out of a segment, or a part of it, and gives the
// segment back when nothing is left in it.
func (t *Tree) vacateSegment(seg uint32) bool {
	first := seg * segPages
	for pg := first; pg < first+segPages; pg++ {
		if !t.page(pg).closed() {
			t.closePage(pg)
		}
	}
	for pg := first; pg < first+segPages; pg++ {
		if t.clearPage(pg, true) > 0 {
			return true
		}
	}
	t.dropSegment(seg)
	return true
}

// dropTables gives the empty tables of an empty tree back.
func (t *Tree) freeEmptyTables() {
	t.index.freeAll()
	t.byKey.freeAll()
}
