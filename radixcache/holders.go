// SPDX-License-Identifier: Apache-2.0

package radixcache

import (
	"math/bits"
	"sync/atomic"
)

// The holders of a run are a list without order. Up to two lie in the run
// itself, up to 64 in a list of their own, more in a table of lists of 64.
const (
	maxInlineHolders = 2
	listSize         = 64
	maxHolders       = listSize * 64
)

// Classes of holder lists.
const (
	classInline = 0
	classList64 = 4 // 1 to 4: a list of 8, 16, 32 or 64
	classTable  = 5
)

var classCapacity = [...]int{maxInlineHolders, 8, 16, 32, listSize, maxHolders}

// holderListKind is the smallest kind that holds n <= 64 holders.
func holderListKind(n int) kind {
	return kindHolderList + kind(bits.Len(uint(max(n-1, 0)/lineWords)))
}

// tableEntry returns the word of list i in the list table of a run.
func (t *Tree) tableEntry(r *run, i int) *atomic.Uint64 {
	return &t.words(r.holderList(), listSize)[i]
}

// holderAt returns the word of holder i.
func (t *Tree) holderAt(r *run, i int) *atomic.Uint64 {
	switch r.class() {
	case classInline:
		return &r.inline[i]
	case classTable:
		list := lower(t.tableEntry(r, i/listSize).Load())
		return &t.words(list, listSize)[i%listSize]
	}
	return &t.words(r.holderList(), classCapacity[r.class()])[i]
}

func (t *Tree) holder(r *run, i int) holder { return holder(t.holderAt(r, i).Load()) }

// findHolder returns the holder of the upstream in slot, and where it is: -1 for
// nowhere.
func (t *Tree) findHolder(r *run, slot int) (int, holder) {
	n := r.numHolders()
	t.addWork(1 + n/listSize)
	if r.class() == classInline {
		for i := range n {
			if h := holder(r.inline[i].Load()); h.slot() == slot {
				return i, h
			}
		}
		return -1, 0
	}
	for at := 0; at < n; at += listSize {
		ref := r.holderList()
		if r.class() == classTable {
			ref = lower(t.tableEntry(r, at/listSize).Load())
		}
		list := t.words(ref, min(listSize, n-at))
		for i := range list {
			if h := holder(list[i].Load()); h.slot() == slot {
				return at + i, h
			}
		}
	}
	return -1, 0
}

// coveredBlocks is where the last block of a run ends that any upstream holds.
func (t *Tree) coveredBlocks(r *run) (most int) {
	t.addWork(1 + r.numHolders()/listSize)
	for i := range r.numHolders() {
		most = max(most, t.holder(r, i).covered())
	}
	return most
}

// addHolder appends a holder. The caller has begun a write; the memory is reserved.
func (t *Tree) addHolder(r *run, h holder) {
	n := r.numHolders()
	if c := r.class(); n == classCapacity[c] {
		t.growHolders(r, c+1)
	} else if c == classTable && n%listSize == 0 {
		t.tableEntry(r, n/listSize).Store(uint64(t.mustAlloc(kindHolderList64)))
	}
	r.setNumHolders(n + 1)
	t.holderAt(r, n).Store(uint64(h))
	if h.effective() > 0 {
		r.setNumEffective(r.numEffective() + 1)
	}
}

// growHolders moves the holders into the next class.
func (t *Tree) growHolders(r *run, class int) {
	if class == classTable {
		table := t.mustAlloc(kindListTable)
		first := r.holderList()
		r.setHolderList(table)
		t.tableEntry(r, 0).Store(uint64(first))
		t.tableEntry(r, 1).Store(uint64(t.mustAlloc(kindHolderList64)))
		r.setClass(class)
		return
	}
	if !t.moveHolders(r, class) {
		panic("radixcache: memory was not reserved")
	}
}

// moveHolders moves the holders into a list of another class, if there is memory.
func (t *Tree) moveHolders(r *run, class int) bool {
	var ref uint32
	if class != classInline {
		if ref = t.alloc(kindHolderList + kind(class-1)); ref == 0 {
			return false
		}
	}
	var tmp [listSize]holder
	n := r.numHolders()
	for i := range n {
		tmp[i] = t.holder(r, i)
	}
	if old := r.class(); old != classInline {
		t.free(kindHolderList+kind(old-1), r.holderList())
	}
	r.setHolderList(ref)
	r.setClass(class)
	for i := range n {
		t.holderAt(r, i).Store(uint64(tmp[i]))
	}
	return true
}

// setHolder replaces holder i. The caller has begun a write.
func (t *Tree) setHolder(r *run, i int, h holder) {
	at := t.holderAt(r, i)
	was := holder(at.Load())
	at.Store(uint64(h))
	switch before, after := was.effective() > 0, h.effective() > 0; {
	case after && !before:
		r.setNumEffective(r.numEffective() + 1)
	case before && !after:
		r.setNumEffective(r.numEffective() - 1)
	}
}

// removeHolder takes holder i out. The caller has begun a write.
func (t *Tree) removeHolder(r *run, i int) {
	n := r.numHolders() - 1
	t.setHolder(r, i, t.holder(r, i).withEffective(0)) // no longer counted
	if i != n {
		t.holderAt(r, i).Store(t.holderAt(r, n).Load())
	}
	r.setNumHolders(n)
	switch c := r.class(); {
	case c == classInline:
	case c == classTable:
		t.shrinkListTable(r, n)
	case n <= classCapacity[c-1]*3/4:
		t.moveHolders(r, c-1)
	}
}

// shrinkListTable frees the last list of a table when it is empty, and the table
// with the last but one.
func (t *Tree) shrinkListTable(r *run, n int) {
	if n%listSize == 0 {
		t.free(kindHolderList64, lower(t.tableEntry(r, n/listSize).Load()))
	}
	if n == listSize {
		table := r.holderList()
		r.setHolderList(lower(t.tableEntry(r, 0).Load()))
		r.setClass(classList64)
		t.free(kindListTable, table)
	}
}

// freeHolders frees the list of a run without holders.
func (t *Tree) freeHolders(r *run) {
	if c := r.class(); c == classTable {
		for i := 0; i*listSize < r.numHolders(); i++ {
			t.free(kindHolderList64, lower(t.tableEntry(r, i).Load()))
		}
		t.free(kindListTable, r.holderList())
	} else if c != classInline {
		t.free(kindHolderList+kind(c-1), r.holderList())
	}
}

// resetHolders gives a run an empty list with room for n. The caller has begun a
// write; the memory is reserved.
func (t *Tree) resetHolders(r *run, n int) {
	r.setHolderList(0)
	r.setNumHolders(0)
	r.setNumEffective(0)
	r.setClass(classInline)
	switch {
	case n > listSize:
		r.setHolderList(t.mustAlloc(kindListTable)) // its lists are allocated with the holders
		r.setClass(classTable)
	case n > maxInlineHolders:
		k := holderListKind(n)
		r.setHolderList(t.mustAlloc(k))
		r.setClass(int(k-kindHolderList) + 1)
	}
}

// splitHolders divides the holders of a run that is cut after k blocks. The upper
// run has the list, the lower gets a new one of those that extend past it.
func (t *Tree) splitHolders(upRef, lowRef uint32, k int) {
	up, low := t.run(upRef), t.run(lowRef)
	parents := t.indexHolders(up.parent())
	n := 0
	for i := range up.numHolders() {
		if t.extendsPast(t.holder(up, i), k) {
			n++
		}
	}
	t.resetHolders(low, n)
	for i := range up.numHolders() {
		h := t.holder(up, i)
		c := t.claim(h.claim())
		t.addWork(1)
		if !t.extendsPast(h, k) {
			c.run.Store(upRef)
			continue
		}
		var parent uint32
		if parents != nil {
			parent = t.holder(parents, int(t.holderIndex[h.slot()])).claim()
		}
		present := c.present.Load()
		part := t.splitClaim(h.claim(), upRef, parent, k)
		t.addHolder(low, newHolder(h.claim(), h.slot(), max(h.effective()-k, 0), coverage(present>>k)))
		t.setHolder(up, i, newHolder(part, h.slot(), min(h.effective(), k), coverage(present&(1<<k-1))))
	}
}

// indexHolders fills holderIndex: the place of each upstream in the holder list
// of a run. It returns the run, nil for reference 0.
func (t *Tree) indexHolders(ref uint32) *run {
	if ref == 0 {
		return nil
	}
	r := t.run(ref)
	t.addWork(r.numHolders() / lineWords)
	for i := range r.numHolders() {
		t.holderIndex[t.holder(r, i).slot()] = uint16(i)
	}
	return r
}

// extendsPast tells whether a holder claims anything behind the first k blocks.
func (t *Tree) extendsPast(h holder, k int) bool {
	return h.covered() > k || t.claim(h.claim()).child.Load() != 0
}

// mergeHolders merges the claims on low into those on up, which becomes low.
func (t *Tree) mergeHolders(up, low *run, lowRef uint32) {
	k := up.blocks() - low.blocks()
	t.addWork(up.numHolders() + low.numHolders())
	for i := range up.numHolders() {
		h := t.holder(up, i)
		t.holderIndex[h.slot()] = uint16(i)
		t.claim(h.claim()).run.Store(lowRef)
	}
	for j := range low.numHolders() {
		l := t.holder(low, j)
		i := int(t.holderIndex[l.slot()])
		u := t.holder(up, i)
		t.mergeClaim(u.claim(), l.claim(), k)
		covered := coverage(t.claim(u.claim()).present.Load())
		t.setHolder(up, i, newHolder(u.claim(), u.slot(), u.effective()+l.effective(), covered))
	}
	t.freeHolders(low)
}
