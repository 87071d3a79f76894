// SPDX-License-Identifier: Apache-2.0

package radixcache

import "sync/atomic"

// Tier is where an engine keeps a block.
type Tier uint8

// The tiers, fastest first.
const (
	GPU Tier = iota
	CPU
	Disk
	NumTiers
)

// StoredBlocks says that an engine stored blocks, one behind the other. Keys are
// the engine's own names for them, opaque here; Blocks the chain elements.
type StoredBlocks struct {
	Root   bool     // the first block is the first of a prompt
	Parent uint64   // else: the engine's key of the block before the first
	Keys   []uint64 // as many as Blocks
	Blocks []uint64
	Weight uint32 // tokens a block
	Tier   Tier
}

// What events said about the blocks of a claim lies in a record of its own: the
// claim, then a key for each block, then for each block how many copies of it
// there are in each tier, a byte each. Engines do store a block twice, and then
// remove it twice. A slot of the table told is
//
//	26 bits of the hash<<38 | block of the run<<32 | claim
const (
	keySlotBlockShift = 32
	keySlotTagShift   = 38
	maxCopies         = 255
)

// toldRoom is how many blocks a record of n lines is good for.
func recordCapacity(n int) int { return min(MaxRun, (n*lineWords-1)*2/3) }

// toldKind is the smallest kind of record for n blocks.
func recordKind(n int) kind {
	k := kindRecord
	for recordCapacity(kindLines[k]) < n {
		k++
	}
	return k
}

// toldKey mixes an engine's key, which may be a small number, with the slot of
// the upstream it belongs to (finalizer of SplitMix64).
func keyHash(slot uint32, key uint64) uint64 {
	h := key + uint64(slot+1)*0x9E3779B97F4A7C15
	h = (h ^ h>>30) * 0xBF58476D1CE4E5B9
	h = (h ^ h>>27) * 0x94D049BB133111EB
	return h ^ h>>31
}

func newKeySlot(h uint64, claim uint32, pos int) uint64 {
	return h>>keySlotTagShift<<keySlotTagShift | uint64(pos)<<keySlotBlockShift | uint64(claim)
}

func keySlotBlock(slot uint64) int { return int(slot >> keySlotBlockShift & (MaxRun - 1)) }

// toldHash is the hash of a slot of the table told.
func (t *Tree) keySlotHash(slot uint64) uint64 {
	c := t.claim(uint32(slot))
	key, _ := t.entry(c, keySlotBlock(slot))
	return keyHash(c.slot.Load(), key.Load())
}

// record returns where the key of a block of a claim is, and the word that has
// its copies in its upper or lower half.
func (t *Tree) entry(c *claim, pos int) (key, copies *atomic.Uint64) {
	n := int(c.recordLines.Load())
	w := t.words(c.record.Load(), n*lineWords)
	return &w[1+pos], &w[1+recordCapacity(n)+pos/2]
}

// copies returns the copies of a block: a byte for each tier.
func (t *Tree) copies(c *claim, pos int) uint32 {
	if n := int(c.recordLines.Load()); n == 0 || pos >= recordCapacity(n) {
		return 0
	}
	_, w := t.entry(c, pos)
	return uint32(w.Load() >> (pos % 2 * 32))
}

func (t *Tree) setCopies(c *claim, pos int, n uint32) {
	_, w := t.entry(c, pos)
	shift := pos % 2 * 32
	w.Store(w.Load()&^(0xffffffff<<shift) | uint64(n)<<shift)
}

// toldOf finds the block that an upstream's engine calls key.
func (t *Tree) findKey(u *upstream, key uint64) (ref uint32, pos int) {
	h := keyHash(uint32(u.slot), key)
	for b := t.byKey.first(h); b != nil; b = t.byKey.next(b) {
		for i := range bucketSlots {
			s := b[i].Load()
			if s == 0 || (s^h)>>keySlotTagShift != 0 {
				continue
			}
			c := t.claim(uint32(s))
			if k, _ := t.entry(c, keySlotBlock(s)); k.Load() == key && int(c.slot.Load()) == u.slot {
				return uint32(s), keySlotBlock(s)
			}
		}
	}
	return 0, 0
}

// tell notes another copy of a block of a claim, of which blocks up to end are
// told. There is room (see needTold).
func (t *Tree) addCopy(ref uint32, pos, end int, key uint64, tier Tier) {
	c := t.claim(ref)
	if n := int(c.recordLines.Load()); n == 0 || end > recordCapacity(n) {
		t.resizeRecord(ref, c, recordKind(end))
	}
	n := t.copies(c, pos)
	k, _ := t.entry(c, pos)
	if n != 0 && k.Load() != key {
		t.forgetKey(ref, pos) // it has another name now
		n = 0
	}
	if n == 0 {
		if old, at := t.findKey(t.ups[c.slot.Load()], key); old != 0 {
			t.forgetKey(old, at) // the name is another block's now
		}
		if c.recordLines.Load() == 0 { // that was the last one in the record
			t.resizeRecord(ref, c, recordKind(end))
		}
		k, _ = t.entry(c, pos)
		k.Store(key)
		h := keyHash(c.slot.Load(), key)
		t.byKey.insert(h, newKeySlot(h, ref, pos))
	}
	t.setCopies(c, pos, addToCopies(n, tier))
}

// untell forgets what was said about a block, and the record with its last one.
func (t *Tree) forgetKey(ref uint32, pos int) {
	c := t.claim(ref)
	if t.copies(c, pos) == 0 {
		return
	}
	k, _ := t.entry(c, pos)
	h := keyHash(c.slot.Load(), k.Load())
	t.byKey.remove(h, newKeySlot(h, ref, pos))
	t.setCopies(c, pos, 0)
	n := int(c.recordLines.Load())
	for i := range (recordCapacity(n) + 1) / 2 {
		if _, w := t.entry(c, 2*i); w.Load() != 0 {
			return
		}
	}
	t.free(kindRecord+kind(n-1), c.record.Load())
	c.record.Store(0)
	c.recordLines.Store(0)
}

// untellAll forgets what was said about a set of blocks of a claim.
func (t *Tree) forgetKeys(ref uint32, set uint64) {
	c := t.claim(ref)
	for pos := 0; pos < MaxRun && c.recordLines.Load() != 0; pos++ {
		if set>>pos&1 != 0 {
			t.forgetKey(ref, pos)
		}
	}
}

// resizeTold gives a claim a record of kind k with what the old one says.
func (t *Tree) resizeRecord(ref uint32, c *claim, k kind) {
	to := t.mustAlloc(k)
	w := t.words(to, kindLines[k]*lineWords)
	w[0].Store(uint64(ref))
	for i := 1; i < len(w); i++ {
		w[i].Store(0)
	}
	old, was := c.record.Load(), int(c.recordLines.Load())
	room := recordCapacity(kindLines[k])
	for pos := range min(recordCapacity(was), room) {
		key, _ := t.entry(c, pos)
		w[1+pos].Store(key.Load())
		half := &w[1+room+pos/2]
		half.Store(half.Load() | uint64(t.copies(c, pos))<<(pos%2*32))
	}
	c.record.Store(to)
	c.recordLines.Store(uint32(kindLines[k]))
	if was > 0 {
		t.free(kindRecord+kind(was-1), old)
	}
}

// passTold hands what was said about the blocks from..end of a claim to another
// one; block pos of the one is block pos-shift of the other.
func (t *Tree) moveEntries(from, to uint32, first, end, shift int) {
	c, d := t.claim(from), t.claim(to)
	for pos := first; pos < end; pos++ {
		n := t.copies(c, pos)
		if n == 0 {
			continue
		}
		if l := int(d.recordLines.Load()); l == 0 || pos-shift >= recordCapacity(l) {
			t.resizeRecord(to, d, recordKind(min(MaxRun, end-shift)))
		}
		k, _ := t.entry(c, pos)
		key := k.Load()
		h := keyHash(c.slot.Load(), key)
		nk, _ := t.entry(d, pos-shift)
		nk.Store(key)
		t.byKey.replace(h, newKeySlot(h, from, pos), newKeySlot(h, to, pos-shift))
		t.setCopies(c, pos, 0)
		t.setCopies(d, pos-shift, n)
	}
}

// shiftTold moves what was said about a claim k blocks up, after its first k
// blocks went to another claim.
func (t *Tree) shiftEntries(ref uint32, c *claim, k int) {
	left := false
	for pos := k; pos < recordCapacity(int(c.recordLines.Load())); pos++ {
		n := t.copies(c, pos)
		if n == 0 {
			continue
		}
		left = true
		from, _ := t.entry(c, pos)
		to, _ := t.entry(c, pos-k)
		key := from.Load()
		h := keyHash(c.slot.Load(), key)
		to.Store(key)
		t.byKey.replace(h, newKeySlot(h, ref, pos), newKeySlot(h, ref, pos-k))
		t.setCopies(c, pos, 0)
		t.setCopies(c, pos-k, n)
	}
	if !left {
		t.free(kindRecord+kind(c.recordLines.Load()-1), c.record.Load())
		c.record.Store(0)
		c.recordLines.Store(0)
	}
}

// ownTold makes a record and its slots name the claim that was moved.
func (t *Tree) movedRecordOwner(from, ref uint32) {
	c := t.claim(ref)
	n := int(c.recordLines.Load())
	if n == 0 {
		return
	}
	t.line(c.record.Load())[0].Store(uint64(ref))
	for pos := range recordCapacity(n) {
		if t.copies(c, pos) != 0 {
			k, _ := t.entry(c, pos)
			h := keyHash(c.slot.Load(), k.Load())
			t.byKey.replace(h, newKeySlot(h, from, pos), newKeySlot(h, ref, pos))
		}
	}
}

// needTold adds what it takes to tell n blocks of a claim up to block end.
func (t *Tree) needRecord(need *[kinds]int, n, end int) {
	need[recordKind(end)] += 2
	need[kindBucket] += n/2 + 4
	need[kindChunk] += 2
}

// Stored records what an engine said it stored, and makes up's claims on the way
// there the youngest. It returns false when the parent is not known, or there is
// no room: then nothing, or only the first of the blocks, was recorded. A key that
// was another block's until now is not that block's any more, which is lost with it.
func (t *Tree) Stored(up Upstream, e StoredBlocks) bool {
	if len(e.Keys) != len(e.Blocks) || e.Tier >= NumTiers {
		return false
	}
	t.lock()
	defer t.unlock()
	t.startOperation()
	tight, renamed := false, len(e.Keys)
	for {
		if t.byKey.buckets() == 0 && !t.startTable(&t.byKey) {
			return false
		}
		u := t.upstreamOf(up)
		if u == nil || !t.finishPending(u) {
			return false
		}
		if renamed > 0 && !t.dropRenamed(u, e.Keys[len(e.Keys)-renamed:], e.Blocks[len(e.Blocks)-renamed:], &renamed) {
			t.yield()
			continue
		}
		t.newStamp()
		in := insertion{t: t, u: u, chain: e.Blocks[:min(len(e.Blocks), runsPerStep*MaxRun)], weight: e.Weight, event: &e, oneRunAtATime: tight}
		if !e.Root && !in.startBehind(e.Parent) {
			return false
		}
		stuck := false
		for in.done < len(in.chain) && !stuck && (in.done <= in.from || !t.overBudget()) && !u.hasPending() {
			stuck = !in.step()
		}
		t.updateHeapKey(u)
		if in.done-in.from == len(e.Blocks) && t.finishPending(u) {
			return true
		}
		if stuck && !in.restart {
			return false
		}
		// What is told is told once: go on behind it.
		if told := in.done - in.from; told > 0 {
			e.Root, e.Parent = false, e.Keys[told-1]
			e.Keys, e.Blocks = e.Keys[told:], e.Blocks[told:]
		}
		tight = in.oneRunAtATime
		t.yield()
	}
}

// rename takes the blocks from u that the keys of an event named until now. It
// counts left down, and returns false when others must be let in before the rest.
func (t *Tree) dropRenamed(u *upstream, keys, blocks []uint64, left *int) bool {
	for i, key := range keys {
		if i > 0 && t.overBudget() || u.hasPending() {
			return false
		}
		t.addWork(1)
		ref, pos := t.findKey(u, key)
		if ref != 0 && t.hashAt(t.run(t.claim(ref).run.Load()), pos) != blocks[i] {
			t.removeBlocks(ref, 1<<pos)
		}
		*left--
	}
	return true
}

// Copied records that an engine now has a copy of each of these blocks in another
// tier, and returns how many of them are known: the others are passed over. It
// makes no claim younger.
func (t *Tree) Copied(up Upstream, keys []uint64, tier Tier) (known int) {
	if tier >= NumTiers {
		return 0
	}
	t.lock()
	defer t.unlock()
	for _, key := range keys {
		u := t.upstreamOf(up)
		if u == nil {
			return known
		}
		if ref, pos := t.findKey(u, key); ref != 0 {
			c := t.claim(ref)
			t.setCopies(c, pos, addToCopies(t.copies(c, pos), tier))
			known++
		}
		if t.addWork(2); t.overBudget() {
			t.yield()
		}
	}
	return known
}

// oneMore counts another copy in a tier.
func addToCopies(copies uint32, tier Tier) uint32 {
	if shift := 8 * uint32(tier); copies>>shift&0xff < maxCopies {
		copies += 1 << shift
	}
	return copies
}

// behind starts an insertion behind the block that the engine calls key.
func (in *insertion) startBehind(key uint64) bool {
	t := in.t
	ref, pos := t.findKey(in.u, key)
	if ref == 0 {
		return false
	}
	t.touchUp(in.u, ref)
	c := t.claim(ref)
	r := t.run(c.run.Load())
	chain := t.scratch[:0]
	for i := range pos + 1 {
		chain = append(chain, t.hashAt(r, i))
	}
	if len(chain)+len(in.chain) <= cap(chain) {
		in.chain = append(chain, in.chain...)
	} else {
		in.chain = append(append(make([]uint64, 0, len(chain)+len(in.chain)), chain...), in.chain...)
	}
	in.base, in.from = r.depth(), pos+1
	in.run, in.claim = r.parent(), t.parentClaim(c)
	return true
}

// Removed records that an engine removed a copy of each of these blocks from a
// tier. A block goes with its last copy; what lies behind it counts no more
// until it is back. Unknown keys are passed over.
func (t *Tree) Removed(up Upstream, keys []uint64, tier Tier) {
	if tier >= NumTiers {
		return
	}
	t.lock()
	defer t.unlock()
	t.startOperation()
	for _, key := range keys {
		u := t.upstreamOf(up)
		if u == nil || !t.finishPending(u) {
			return
		}
		if ref, pos := t.findKey(u, key); ref != 0 {
			t.removeCopy(ref, pos, tier)
		}
		if t.addWork(2); t.overBudget() {
			t.yield()
		}
	}
	if u := t.upstreamOf(up); u != nil {
		t.finishPending(u)
	}
}

func (t *Tree) removeCopy(ref uint32, pos int, tier Tier) {
	c := t.claim(ref)
	n, one := t.copies(c, pos), uint32(1)<<(8*tier)
	switch {
	case n>>(8*tier)&0xff == 0:
	case n != one:
		t.setCopies(c, pos, n-one)
	default:
		t.removeBlocks(ref, 1<<pos)
	}
}

// Lose records that up holds one block, chain[i], no more. What up holds behind
// it counts no more until the block is back by Insert or Stored.
func (t *Tree) DropBlock(up Upstream, chain []uint64, i int) {
	t.lock()
	defer t.unlock()
	t.startOperation()
	if u := t.upstreamOf(up); u != nil && i >= 0 && i < len(chain) && t.finishPending(u) {
		if ref, pos := t.claimAt(u, chain, i); ref != 0 {
			t.removeBlocks(ref, 1<<pos)
			t.finishPending(u)
		}
	}
}

// lose takes blocks off a claim.
func (t *Tree) removeBlocks(ref uint32, set uint64) {
	c := t.claim(ref)
	have := c.present.Load()
	if have&set == 0 {
		return
	}
	t.forgetKeys(ref, set)
	if have &^= set; have == 0 && c.child.Load() == 0 {
		t.dropClaim(ref)
		return
	}
	run := c.run.Load()
	t.setPresent(ref, have)
	t.prune(run)
}

// Block returns the chain element of the block that up's engine calls key: what
// the hashes of the blocks behind it build on.
func (t *Tree) BlockByKey(up Upstream, key uint64) (hash uint64, ok bool) {
	t.lock()
	defer t.unlock()
	u := t.upstreamOf(up)
	if u == nil {
		return 0, false
	}
	ref, pos := t.findKey(u, key)
	if ref == 0 {
		return 0, false
	}
	return t.hashAt(t.run(t.claim(ref).run.Load()), pos), true
}

// Tiers counts the blocks of the chain that up holds without a hole by the
// fastest tier each is in. Blocks that no event told of count as on the GPU.
func (t *Tree) BlocksByTier(up Upstream, chain []uint64) (blocks [NumTiers]int32) {
	t.lock()
	defer t.unlock()
	for pos := 0; pos < len(chain); {
		u := t.upstreamOf(up)
		if u == nil {
			return blocks
		}
		ref := t.findRun(chain[pos], pos)
		if ref == 0 {
			return blocks
		}
		r := t.run(ref)
		n := t.matchLength(r, chain[pos:])
		_, e := t.findHolder(r, u.slot)
		for i := range min(n, holderEffective(e)) {
			blocks[fastestTier(t.copies(t.claim(holderClaim(e)), i))]++
		}
		if holderEffective(e) < r.blocks() || n < r.blocks() {
			return blocks
		}
		if pos += n; t.overBudget() {
			t.yield()
		}
	}
	return blocks
}

func fastestTier(copies uint32) Tier {
	switch {
	case copies == 0 || copies&0xff != 0:
		return GPU
	case copies>>8&0xff != 0:
		return CPU
	}
	return Disk
}

// marks is a set of upstreams by slot that can be read without a lock.
type slotSet [MaxUpstreams / 64]atomic.Uint64

func (m *slotSet) set(slot int, in bool) {
	w, bit := &m[slot/64], uint64(1)<<(slot%64)
	if in {
		w.Store(w.Load() | bit)
	} else {
		w.Store(w.Load() &^ bit)
	}
}

// Evicted tells whether claims of up were dropped at the ceiling since it was
// registered or last forgotten: then what it is not known to hold it may hold. It
// takes no lock.
func (t *Tree) Evicted(up Upstream) bool {
	slot := int(up&(1<<slotBits-1)) - 1
	return slot >= 0 && slot < MaxUpstreams && t.ids[slot].Load() == uint32(up) &&
		t.evicted[slot/64].Load()>>(slot%64)&1 != 0
}
