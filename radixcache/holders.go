// SPDX-License-Identifier: Apache-2.0

package radixcache

import (
	"math/bits"
	"sync/atomic"
)

// The holders of a run are a list without order, one word each:
//
//	claim<<32 | slot of the upstream<<16 | effective blocks<<8 | covered blocks
//
// Effective is how many blocks of the run the upstream holds without a hole
// since the root; covered is where its last block in the run ends. Up to two
// holders lie in the run itself, up to 64 in a list of their own, more in a
// table of lists of 64.
const maxInlineHolders = 2

// Classes of holder lists: in the run, of 8, 16, 32 and 64, and the table.
const (
	classInline = 0
	classList64 = 4 // the list of 64
	classTable  = 5
	listSize    = 64
	maxHolders  = listSize * 64
)

var classCapacity = [...]int{maxInlineHolders, 8, 16, 32, listSize, maxHolders}

func newHolder(claim uint32, slot, effective, covered int) uint64 {
	return uint64(claim)<<32 | uint64(slot)<<16 | uint64(effective)<<8 | uint64(covered)
}

func holderClaim(e uint64) uint32  { return uint32(e >> 32) }
func holderSlot(e uint64) int      { return int(uint16(e >> 16)) }
func holderEffective(e uint64) int { return int(uint8(e >> 8)) }
func holderCovered(e uint64) int   { return int(uint8(e)) }

// holderAt returns the place of entry i.
func (t *Tree) holderAt(r *run, i int) *atomic.Uint64 {
	switch r.class() {
	case classInline:
		return &r.inline[i]
	case classTable:
		list := uint32(t.words(r.holderList(), listSize)[i/listSize].Load())
		return &t.words(list, listSize)[i%listSize]
	}
	return &t.words(r.holderList(), classCapacity[r.class()])[i]
}

// holderOf returns the entry of the upstream in slot, or -1.
func (t *Tree) findHolder(r *run, slot int) (int, uint64) {
	n := r.numHolders()
	t.addWork(1 + n/listSize)
	if r.class() == classInline {
		for i := range n {
			if e := r.inline[i].Load(); holderSlot(e) == slot {
				return i, e
			}
		}
		return -1, 0
	}
	for at := 0; at < n; at += listSize {
		ref := r.holderList()
		if r.class() == classTable {
			ref = uint32(t.words(ref, listSize)[at/listSize].Load())
		}
		list := t.words(ref, min(listSize, n-at))
		for i := range list {
			if e := list[i].Load(); holderSlot(e) == slot {
				return at + i, e
			}
		}
	}
	return -1, 0
}

// covered is how many blocks of a run somebody holds, counted to the last one held.
func (t *Tree) coveredBlocks(r *run) (most int) {
	t.addWork(1 + r.numHolders()/listSize)
	for i := range r.numHolders() {
		most = max(most, holderCovered(t.holderAt(r, i).Load()))
	}
	return most
}

// addHolder appends an entry to an open run. There is room (see reserve).
func (t *Tree) addHolder(r *run, e uint64) {
	n := r.numHolders()
	if c := r.class(); n == classCapacity[c] {
		t.growHolders(r, c+1)
	} else if c == classTable && n%listSize == 0 {
		t.words(r.holderList(), listSize)[n/listSize].Store(uint64(t.mustAlloc(kindHolderList + 3)))
	}
	r.setNumHolders(n + 1)
	t.holderAt(r, n).Store(e)
	if holderEffective(e) > 0 {
		r.setNumEffective(r.numEffective() + 1)
	}
}

// growHolders moves the entries into the next class.
func (t *Tree) growHolders(r *run, class int) {
	if class == classTable {
		table := t.mustAlloc(kindListTable)
		t.words(table, listSize)[0].Store(uint64(r.holderList()))
		t.words(table, listSize)[1].Store(uint64(t.mustAlloc(kindHolderList + 3)))
		r.setHolderList(table)
		r.setClass(class)
		return
	}
	if !t.moveHolders(r, class) {
		panic("radixcache: memory was not reserved")
	}
}

// moveHolders moves the entries into a list of another class, if there is memory.
func (t *Tree) moveHolders(r *run, class int) bool {
	var ref uint32
	if class != classInline {
		if ref = t.alloc(kindHolderList + kind(class-1)); ref == 0 {
			return false
		}
	}
	var tmp [listSize]uint64
	n := r.numHolders()
	for i := range n {
		tmp[i] = t.holderAt(r, i).Load()
	}
	if old := r.class(); old != classInline {
		t.free(kindHolderList+kind(old-1), r.holderList())
	}
	r.setHolderList(ref)
	r.setClass(class)
	for i := range n {
		t.holderAt(r, i).Store(tmp[i])
	}
	return true
}

// setHolder replaces entry i of an open run.
func (t *Tree) setHolder(r *run, i int, e uint64) {
	at := t.holderAt(r, i)
	was := at.Load()
	at.Store(e)
	if a, b := holderEffective(was) > 0, holderEffective(e) > 0; a != b {
		if b {
			r.setNumEffective(r.numEffective() + 1)
		} else {
			r.setNumEffective(r.numEffective() - 1)
		}
	}
}

// cutHolder takes entry i out of an open run.
func (t *Tree) removeHolder(r *run, i int) {
	n := r.numHolders() - 1
	t.setHolder(r, i, t.holderAt(r, i).Load()&^0xff00) // no longer counted
	e := t.holderAt(r, n).Load()
	if i != n {
		t.holderAt(r, i).Store(e)
	}
	r.setNumHolders(n)
	switch c := r.class(); {
	case c == classInline:
	case c == classTable:
		if n%listSize == 0 {
			t.free(kindHolderList+3, uint32(t.words(r.holderList(), listSize)[n/listSize].Load()))
		}
		if n == listSize {
			table := r.holderList()
			r.setHolderList(uint32(t.words(table, listSize)[0].Load()))
			r.setClass(classList64)
			t.free(kindListTable, table)
		}
	case n <= classCapacity[c-1]*3/4:
		t.moveHolders(r, c-1)
	}
}

// freeHolders gives the list of a run without holders back.
func (t *Tree) freeHolders(r *run) {
	if c := r.class(); c == classTable {
		for i := 0; i*listSize < r.numHolders(); i++ {
			t.free(kindHolderList+3, uint32(t.words(r.holderList(), listSize)[i].Load()))
		}
		t.free(kindListTable, r.holderList())
	} else if c != classInline {
		t.free(kindHolderList+kind(c-1), r.holderList())
	}
}

// clearHolders gives an open run an empty list with room for n.
func (t *Tree) clearHolders(r *run, n int) {
	r.setHolderList(0)
	r.setNumHolders(0)
	r.setNumEffective(0)
	r.setClass(classInline)
	switch {
	case n > listSize:
		r.setHolderList(t.mustAlloc(kindListTable)) // its lists come with the entries
		r.setClass(classTable)
	case n > maxInlineHolders:
		k := holderListKind(n)
		r.setHolderList(t.mustAlloc(k))
		r.setClass(int(k-kindHolderList) + 1)
	}
}

// splitHolders shares the holders of a run that is cut after k blocks: up has
// the list, low gets a new one of those who hold more than up.
func (t *Tree) splitHolders(upRef, lowRef uint32, k int) {
	up, low := t.run(upRef), t.run(lowRef)
	parents := t.indexHolders(up.parent())
	n := 0
	for i := range up.numHolders() {
		if e := t.holderAt(up, i).Load(); t.extendsPast(e, k) {
			n++
		}
	}
	t.clearHolders(low, n)
	for i := range up.numHolders() {
		e := t.holderAt(up, i).Load()
		cl := t.claim(holderClaim(e))
		t.addWork(1)
		have, slot, whole := cl.present.Load(), holderSlot(e), holderEffective(e)
		if !t.extendsPast(e, k) {
			cl.run.Store(upRef)
			continue
		}
		var parent uint32
		if parents != nil {
			parent = holderClaim(t.holderAt(parents, int(t.holderIndex[slot])).Load())
		}
		part := t.splitClaim(holderClaim(e), upRef, parent, k)
		t.addHolder(low, newHolder(holderClaim(e), slot, max(whole-k, 0), bits.Len64(have>>k)))
		t.setHolder(up, i, newHolder(part, slot, min(whole, k), bits.Len64(have&(1<<k-1))))
	}
}

// holdersBySlot notes in where at which place each upstream is among the holders
// of a run, which it returns; nil for no run.
func (t *Tree) indexHolders(ref uint32) *run {
	if ref == 0 {
		return nil
	}
	r := t.run(ref)
	t.addWork(r.numHolders() / lineWords)
	for i := range r.numHolders() {
		t.holderIndex[holderSlot(t.holderAt(r, i).Load())] = uint16(i)
	}
	return r
}

// reaches tells whether a holder claims anything behind the first k blocks.
func (t *Tree) extendsPast(e uint64, k int) bool {
	return holderCovered(e) > k || t.claim(holderClaim(e)).child.Load() != 0
}

// mergeHolders makes the claims on low part of those on up, which becomes low.
func (t *Tree) mergeHolders(up, low *run, lowRef uint32) {
	k := up.blocks() - low.blocks()
	t.addWork(up.numHolders() + low.numHolders())
	for i := range up.numHolders() {
		e := t.holderAt(up, i).Load()
		t.holderIndex[holderSlot(e)] = uint16(i)
		t.claim(holderClaim(e)).run.Store(lowRef)
	}
	for j := range low.numHolders() {
		e := t.holderAt(low, j).Load()
		i := int(t.holderIndex[holderSlot(e)])
		was := t.holderAt(up, i).Load()
		c := holderClaim(was)
		t.mergeClaim(c, holderClaim(e), k)
		t.setHolder(up, i, newHolder(c, holderSlot(e), holderEffective(was)+holderEffective(e), bits.Len64(t.claim(c).present.Load())))
	}
	t.freeHolders(low)
}
