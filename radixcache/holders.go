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
const inlineHolders = 2

// Classes of holder lists: in the run, of 8, 16, 32 and 64, and the table.
const (
	inRun     = 0
	inList    = 4 // the list of 64
	inTable   = 5
	listOf    = 64
	maxHolder = listOf * 64
)

var classRoom = [...]int{inlineHolders, 8, 16, 32, listOf, maxHolder}

func holder(claim uint32, slot, effective, covered int) uint64 {
	return uint64(claim)<<32 | uint64(slot)<<16 | uint64(effective)<<8 | uint64(covered)
}

func holderClaim(e uint64) uint32 { return uint32(e >> 32) }
func holderSlot(e uint64) int     { return int(uint16(e >> 16)) }
func holderWhole(e uint64) int    { return int(uint8(e >> 8)) }
func holderCover(e uint64) int    { return int(uint8(e)) }

// holderAt returns the place of entry i.
func (t *Tree) holderAt(r *run, i int) *atomic.Uint64 {
	switch r.class() {
	case inRun:
		return &r.held[i]
	case inTable:
		list := uint32(t.words(r.hold(), listOf)[i/listOf].Load())
		return &t.words(list, listOf)[i%listOf]
	}
	return &t.words(r.hold(), classRoom[r.class()])[i]
}

// holderOf returns the entry of the upstream in slot, or -1.
func (t *Tree) holderOf(r *run, slot int) (int, uint64) {
	n := r.holders()
	t.did(1 + n/listOf)
	if r.class() == inRun {
		for i := range n {
			if e := r.held[i].Load(); holderSlot(e) == slot {
				return i, e
			}
		}
		return -1, 0
	}
	for at := 0; at < n; at += listOf {
		ref := r.hold()
		if r.class() == inTable {
			ref = uint32(t.words(ref, listOf)[at/listOf].Load())
		}
		list := t.words(ref, min(listOf, n-at))
		for i := range list {
			if e := list[i].Load(); holderSlot(e) == slot {
				return at + i, e
			}
		}
	}
	return -1, 0
}

// covered is how many blocks of a run somebody holds, counted to the last one held.
func (t *Tree) covered(r *run) (most int) {
	t.did(1 + r.holders()/listOf)
	for i := range r.holders() {
		most = max(most, holderCover(t.holderAt(r, i).Load()))
	}
	return most
}

// addHolder appends an entry to an open run. There is room (see reserve).
func (t *Tree) addHolder(r *run, e uint64) {
	n := r.holders()
	if c := r.class(); n == classRoom[c] {
		t.growHolders(r, c+1)
	} else if c == inTable && n%listOf == 0 {
		t.words(r.hold(), listOf)[n/listOf].Store(uint64(t.take(kindHold + 3)))
	}
	r.setHolders(n + 1)
	t.holderAt(r, n).Store(e)
	if holderWhole(e) > 0 {
		r.setEffective(r.effective() + 1)
	}
}

// growHolders moves the entries into the next class.
func (t *Tree) growHolders(r *run, class int) {
	if class == inTable {
		table := t.take(kindTable)
		t.words(table, listOf)[0].Store(uint64(r.hold()))
		t.words(table, listOf)[1].Store(uint64(t.take(kindHold + 3)))
		r.setHold(table)
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
	if class != inRun {
		if ref = t.alloc(kindHold + kind(class-1)); ref == 0 {
			return false
		}
	}
	var tmp [listOf]uint64
	n := r.holders()
	for i := range n {
		tmp[i] = t.holderAt(r, i).Load()
	}
	if old := r.class(); old != inRun {
		t.free(kindHold+kind(old-1), r.hold())
	}
	r.setHold(ref)
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
	if a, b := holderWhole(was) > 0, holderWhole(e) > 0; a != b {
		if b {
			r.setEffective(r.effective() + 1)
		} else {
			r.setEffective(r.effective() - 1)
		}
	}
}

// cutHolder takes entry i out of an open run.
func (t *Tree) cutHolder(r *run, i int) {
	n := r.holders() - 1
	t.setHolder(r, i, t.holderAt(r, i).Load()&^0xff00) // no longer counted
	e := t.holderAt(r, n).Load()
	if i != n {
		t.holderAt(r, i).Store(e)
	}
	r.setHolders(n)
	switch c := r.class(); {
	case c == inRun:
	case c == inTable:
		if n%listOf == 0 {
			t.free(kindHold+3, uint32(t.words(r.hold(), listOf)[n/listOf].Load()))
		}
		if n == listOf {
			table := r.hold()
			r.setHold(uint32(t.words(table, listOf)[0].Load()))
			r.setClass(inList)
			t.free(kindTable, table)
		}
	case n <= classRoom[c-1]*3/4:
		t.moveHolders(r, c-1)
	}
}

// freeHolders gives the list of a run without holders back.
func (t *Tree) freeHolders(r *run) {
	if c := r.class(); c == inTable {
		for i := 0; i*listOf < r.holders(); i++ {
			t.free(kindHold+3, uint32(t.words(r.hold(), listOf)[i].Load()))
		}
		t.free(kindTable, r.hold())
	} else if c != inRun {
		t.free(kindHold+kind(c-1), r.hold())
	}
}

// clearHolders gives an open run an empty list with room for n.
func (t *Tree) clearHolders(r *run, n int) {
	r.setHold(0)
	r.setHolders(0)
	r.setEffective(0)
	r.setClass(inRun)
	switch {
	case n > listOf:
		r.setHold(t.take(kindTable)) // its lists come with the entries
		r.setClass(inTable)
	case n > inlineHolders:
		k := holdKind(n)
		r.setHold(t.take(k))
		r.setClass(int(k-kindHold) + 1)
	}
}

// splitHolders shares the holders of a run that is cut after k blocks: up has
// the list, low gets a new one of those who hold more than up.
func (t *Tree) splitHolders(upRef, lowRef uint32, k int) {
	up, low := t.run(upRef), t.run(lowRef)
	parents := t.holdersBySlot(up.parent())
	n := 0
	for i := range up.holders() {
		if e := t.holderAt(up, i).Load(); t.reaches(e, k) {
			n++
		}
	}
	t.clearHolders(low, n)
	for i := range up.holders() {
		e := t.holderAt(up, i).Load()
		cl := t.claim(holderClaim(e))
		t.did(1)
		have, slot, whole := cl.have.Load(), holderSlot(e), holderWhole(e)
		if !t.reaches(e, k) {
			cl.run.Store(upRef)
			continue
		}
		var parent uint32
		if parents != nil {
			parent = holderClaim(t.holderAt(parents, int(t.where[slot])).Load())
		}
		part := t.splitClaim(holderClaim(e), upRef, parent, k)
		t.addHolder(low, holder(holderClaim(e), slot, max(whole-k, 0), bits.Len64(have>>k)))
		t.setHolder(up, i, holder(part, slot, min(whole, k), bits.Len64(have&(1<<k-1))))
	}
}

// holdersBySlot notes in where at which place each upstream is among the holders
// of a run, which it returns; nil for no run.
func (t *Tree) holdersBySlot(ref uint32) *run {
	if ref == 0 {
		return nil
	}
	r := t.run(ref)
	t.did(r.holders() / lineWords)
	for i := range r.holders() {
		t.where[holderSlot(t.holderAt(r, i).Load())] = uint16(i)
	}
	return r
}

// reaches tells whether a holder claims anything behind the first k blocks.
func (t *Tree) reaches(e uint64, k int) bool {
	return holderCover(e) > k || t.claim(holderClaim(e)).child.Load() != 0
}

// mergeHolders makes the claims on low part of those on up, which becomes low.
func (t *Tree) mergeHolders(up, low *run, lowRef uint32) {
	k := up.len() - low.len()
	t.did(up.holders() + low.holders())
	for i := range up.holders() {
		e := t.holderAt(up, i).Load()
		t.where[holderSlot(e)] = uint16(i)
		t.claim(holderClaim(e)).run.Store(lowRef)
	}
	for j := range low.holders() {
		e := t.holderAt(low, j).Load()
		i := int(t.where[holderSlot(e)])
		was := t.holderAt(up, i).Load()
		c := holderClaim(was)
		t.mergeClaim(c, holderClaim(e), k)
		t.setHolder(up, i, holder(c, holderSlot(e), holderWhole(was)+holderWhole(e), bits.Len64(t.claim(c).have.Load())))
	}
	t.freeHolders(low)
}
