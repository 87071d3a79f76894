// SPDX-License-Identifier: Apache-2.0

package radixcache

// A record keeps what events reported about the blocks of a claim: the engine's key
// of each block, and the number of its copies in each tier. Without a copy a block
// has no key. The table byKey finds a block by its key.

// recordKind is the smallest kind of record for n blocks.
func recordKind(n int) kind {
	k := kindRecord
	for recordCapacity(kindLines[k]) < n {
		k++
	}
	return k
}

// needRecord adds the memory for n blocks with keys of a claim, up to block end.
func needRecord(need *[kinds]int, n, end int) {
	need[recordKind(end)] += 2
	need[kindBucket] += n/2 + 4
	need[kindChunk] += 2
}

// keyHash mixes an engine's key, which may be a small number, with the slot of
// the upstream it belongs to (finalizer of SplitMix64).
func keyHash(slot uint32, key uint64) uint64 {
	h := key + uint64(slot+1)*0x9E3779B97F4A7C15
	h = (h ^ h>>30) * 0xBF58476D1CE4E5B9
	h = (h ^ h>>27) * 0x94D049BB133111EB
	return h ^ h>>31
}

// keySlotHash is the hash of a slot of the table byKey.
func (t *Tree) keySlotHash(slot uint64) uint64 {
	c := t.claim(keySlotClaim(slot))
	return keyHash(c.slot.Load(), t.recordOf(c).key(keySlotBlock(slot)))
}

// recordOf returns the record of a claim, empty when it has none.
func (t *Tree) recordOf(c *claim) record {
	return t.words(c.record.Load(), int(c.recordLines.Load())*lineWords)
}

// copiesOf returns the copies of a block of a claim.
func (t *Tree) copiesOf(c *claim, block int) copies {
	if n := int(c.recordLines.Load()); n == 0 || block >= recordCapacity(n) {
		return 0
	}
	return t.recordOf(c).copies(block)
}

// findKey finds the block that an upstream's engine calls key: its claim, 0 for
// none, and its place in the run.
func (t *Tree) findKey(u *upstream, key uint64) (ref uint32, block int) {
	h := keyHash(uint32(u.slot), key)
	for b := t.byKey.first(h); b != nil; b = t.byKey.next(b) {
		for i := range b.slots {
			s := b.slots[i].Load()
			if !keySlotMatches(s, h) {
				continue
			}
			c := t.claim(keySlotClaim(s))
			if t.recordOf(c).key(keySlotBlock(s)) == key && int(c.slot.Load()) == u.slot {
				return keySlotClaim(s), keySlotBlock(s)
			}
		}
	}
	return 0, 0
}

// addCopy counts another copy of a block of a claim, unless the event may repeat
// the one that is known. Blocks up to end are about to get keys. The memory is
// reserved, see needRecord.
func (t *Tree) addCopy(ref uint32, block, end int, key uint64, e *StoredBlocks) {
	c := t.claim(ref)
	if n := int(c.recordLines.Load()); n == 0 || end > recordCapacity(n) {
		t.resizeRecord(ref, c, recordKind(end))
	}
	n := t.copiesOf(c, block)
	if n != 0 && t.recordOf(c).key(block) != key {
		t.forgetKey(ref, block) // it has another key now
		n = 0
	}
	if n == 0 {
		if old, at := t.findKey(t.ups[c.slot.Load()], key); old != 0 {
			t.forgetKey(old, at) // the key is another block's now
		}
		if c.recordLines.Load() == 0 { // that was the last one in the record
			t.resizeRecord(ref, c, recordKind(end))
		}
		t.recordOf(c).setKey(block, key)
		h := keyHash(c.slot.Load(), key)
		t.byKey.insert(h, newKeySlot(h, ref, block))
	}
	if !e.Repeated || n.in(e.Tier) == 0 {
		t.recordOf(c).setCopies(block, n.add(e.Tier))
	}
}

// forgetKey forgets the key and the copies of a block, and frees the record with
// its last one.
func (t *Tree) forgetKey(ref uint32, block int) {
	c := t.claim(ref)
	if t.copiesOf(c, block) == 0 {
		return
	}
	w := t.recordOf(c)
	h := keyHash(c.slot.Load(), w.key(block))
	t.byKey.remove(h, newKeySlot(h, ref, block))
	w.setCopies(block, 0)
	if w.empty() {
		t.freeRecord(c)
	}
}

// forgetKeys is forgetKey for a set of blocks of a claim.
func (t *Tree) forgetKeys(ref uint32, set uint64) {
	c := t.claim(ref)
	for block := 0; block < MaxRun && c.recordLines.Load() != 0; block++ {
		if set>>block&1 != 0 {
			t.forgetKey(ref, block)
		}
	}
}

func (t *Tree) freeRecord(c *claim) {
	t.free(kindRecord+kind(c.recordLines.Load()-1), c.record.Load())
	c.record.Store(0)
	c.recordLines.Store(0)
}

// resizeRecord moves the record of a claim into one of kind k, or makes the first.
func (t *Tree) resizeRecord(ref uint32, c *claim, k kind) {
	to := t.mustAlloc(k)
	w := record(t.words(to, kindLines[k]*lineWords))
	for i := range w {
		w[i].Store(0)
	}
	w.setClaim(ref)
	if c.recordLines.Load() > 0 {
		old := t.recordOf(c)
		for block := range min(old.capacity(), w.capacity()) {
			w.setKey(block, old.key(block))
			w.setCopies(block, old.copies(block))
		}
		t.freeRecord(c)
	}
	c.record.Store(to)
	c.recordLines.Store(uint32(kindLines[k]))
}

// moveEntry moves the key and copies of a block to another place, maybe of another
// claim with a record. It returns false when the block has none.
func (t *Tree) moveEntry(from uint32, block int, to uint32, at int) bool {
	c, d := t.claim(from), t.claim(to)
	n := t.copiesOf(c, block)
	if n == 0 {
		return false
	}
	key := t.recordOf(c).key(block)
	h := keyHash(c.slot.Load(), key)
	t.recordOf(d).setKey(at, key)
	t.byKey.replace(h, newKeySlot(h, from, block), newKeySlot(h, to, at))
	t.recordOf(c).setCopies(block, 0)
	t.recordOf(d).setCopies(at, n)
	return true
}

// moveEntries moves the keys and copies of the first blocks of a claim, up to end,
// to another claim. A block lies shift blocks further up there.
func (t *Tree) moveEntries(from, to uint32, end, shift int) {
	c, d := t.claim(from), t.claim(to)
	for block := range end {
		if t.copiesOf(c, block) == 0 {
			continue
		}
		if n := int(d.recordLines.Load()); n == 0 || block-shift >= recordCapacity(n) {
			t.resizeRecord(to, d, recordKind(min(MaxRun, end-shift)))
		}
		t.moveEntry(from, block, to, block-shift)
	}
}

// shiftEntries moves the keys and copies of a claim k blocks up, after its first k
// blocks went to another claim. The record is freed when nothing is left in it.
func (t *Tree) shiftEntries(ref uint32, c *claim, k int) {
	left := false
	for block := k; block < recordCapacity(int(c.recordLines.Load())); block++ {
		if t.moveEntry(ref, block, ref, block-k) {
			left = true
		}
	}
	if !left {
		t.freeRecord(c)
	}
}

// movedRecordOwner makes a record and its slots name the claim that has moved.
func (t *Tree) movedRecordOwner(from, to uint32) {
	c := t.claim(to)
	if c.recordLines.Load() == 0 {
		return
	}
	w := t.recordOf(c)
	w.setClaim(to)
	for block := range w.capacity() {
		if w.copies(block) != 0 {
			h := keyHash(c.slot.Load(), w.key(block))
			t.byKey.replace(h, newKeySlot(h, from, block), newKeySlot(h, to, block))
		}
	}
}
