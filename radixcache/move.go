// SPDX-License-Identifier: Apache-2.0

package radixcache

// moveObject puts an object elsewhere. There is a free one of its kind, or a free
// page.
func (t *Tree) moveObject(k kind, from uint32) {
	to := t.mustAlloc(k)
	t.addWork(2 + kindLines[k])
	old, dest := t.words(from, kindLines[k]*lineWords), t.words(to, kindLines[k]*lineWords)
	for i := range old {
		dest[i].Store(old[i].Load())
	}
	switch {
	case k == kindRun:
		t.movedRun(from, to)
	case k == kindClaim:
		t.movedClaim(from, to)
	case k == kindBucket:
		t.movedBucket(from, to)
	case k == kindChunk:
		t.movedChunk(from, to)
	case k == kindListTable:
		t.movedListTable(to)
	case k < kindHashList:
		t.movedHolderList(from, to)
	case k < kindRecord:
		t.movedHashList(from, to)
	default:
		t.claim(record(dest).claim()).record.Store(to)
	}
	t.free(k, from)
}

// The following correct everything that refers to an object that has moved.

func (t *Tree) movedRun(from, to uint32) {
	r := t.run(to)
	h := r.head.Load()
	t.beginWrite(h)
	t.index.replace(h, newRunSlot(h, from), newRunSlot(h, to))
	t.endWrite(h)
	if p := r.parent(); p != 0 {
		t.run(p).removeChild(from)
		t.run(p).addChild(to)
	}
	t.addWork(r.numHolders())
	for i := range r.numHolders() {
		c := t.claim(t.holder(r, i).claim())
		c.run.Store(to)
		// A child of the run has at least one claim, whose parent claim is on the run.
		for d := c.child.Load(); d != 0; d = t.claim(d).next.Load() {
			t.run(t.claim(d).run.Load()).setParent(to)
			t.addWork(2)
		}
	}
}

func (t *Tree) movedClaim(from, to uint32) {
	c := t.claim(to)
	u := t.ups[c.slot.Load()]
	r := t.run(c.run.Load())
	i, h := t.findHolder(r, u.slot)
	t.holderAt(r, i).Store(uint64(newHolder(to, u.slot, h.effective(), h.covered())))
	t.setYounger(u, c.older.Load(), to)
	t.setOlder(u, c.younger.Load(), to)
	parent := uint32(0)
	if c.prev.Load() == 0 || u.pathEnd != 0 {
		parent = t.parentClaim(c)
	}
	t.movePending(u, parent, from, to)
	t.replaceSibling(u, from, to, parent)
	t.movedRecordOwner(from, to)
}

// movedBucket finds the table of an overflow bucket by one of its slots: it is
// never empty.
func (t *Tree) movedBucket(from, to uint32) {
	b := t.bucket(to)
	for i := range b.slots {
		s := b.slots[i].Load()
		if s == 0 {
			continue
		}
		if !t.index.movedBucket(t.index.hashOf(s), from, to) {
			t.byKey.movedBucket(t.byKey.hashOf(s), from, to)
		}
		return
	}
}

func (t *Tree) movedChunk(from, to uint32) {
	if !t.index.movedChunk(from, to) {
		t.byKey.movedChunk(from, to)
	}
}

// holderListOwner returns the run whose holder list lies at ref.
func (t *Tree) holderListOwner(ref uint32) *run {
	first := holder(t.line(ref)[0].Load())
	return t.run(t.claim(first.claim()).run.Load())
}

func (t *Tree) movedHolderList(from, to uint32) {
	r := t.holderListOwner(to)
	t.beginWrite(r.head.Load())
	defer t.endWrite(r.head.Load())
	if r.class() != classTable {
		r.setHolderList(to)
		return
	}
	for i := range listSize {
		if w := t.tableEntry(r, i); lower(w.Load()) == from {
			w.Store(uint64(to))
			return
		}
	}
}

func (t *Tree) movedListTable(to uint32) {
	r := t.holderListOwner(lower(t.line(to)[0].Load()))
	t.beginWrite(r.head.Load())
	r.setHolderList(to)
	t.endWrite(r.head.Load())
}

func (t *Tree) movedHashList(from, to uint32) {
	r := t.hashListOwner(t.line(to)[0].Load(), from)
	t.beginWrite(r.head.Load())
	r.setPosition(r.depth(), to)
	t.endWrite(r.head.Load())
}

// hashListOwner returns the run that starts with h and has its hashes at list.
func (t *Tree) hashListOwner(h uint64, list uint32) *run {
	for b := t.index.first(h); b != nil; b = t.index.next(b) {
		for i := range b.slots {
			if s := b.slots[i].Load(); runSlotMatches(s, h) {
				if r := t.run(slotRun(s)); r.head.Load() == h && r.hashList() == list {
					return r
				}
			}
		}
	}
	return nil
}
