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
	toldPosShift = 32
	toldTagShift = 38
	maxCopies    = 255
)

// toldRoom is how many blocks a record of n lines is good for.
func toldRoom(n int) int { return min(MaxRun, (n*lineWords-1)*2/3) }

// toldKind is the smallest kind of record for n blocks.
func toldKind(n int) kind {
	k := kindTold
	for toldRoom(lines[k]) < n {
		k++
	}
	return k
}

// toldKey mixes an engine's key, which may be a small number, with the slot of
// the upstream it belongs to (finalizer of SplitMix64).
func toldKey(slot uint32, key uint64) uint64 {
	h := key + uint64(slot+1)*0x9E3779B97F4A7C15
	h = (h ^ h>>30) * 0xBF58476D1CE4E5B9
	h = (h ^ h>>27) * 0x94D049BB133111EB
	return h ^ h>>31
}

func toldSlot(h uint64, claim uint32, pos int) uint64 {
	return h>>toldTagShift<<toldTagShift | uint64(pos)<<toldPosShift | uint64(claim)
}

func toldPos(slot uint64) int { return int(slot >> toldPosShift & (MaxRun - 1)) }

// toldHash is the hash of a slot of the table told.
func (t *Tree) toldHash(slot uint64) uint64 {
	c := t.claim(uint32(slot))
	key, _ := t.record(c, toldPos(slot))
	return toldKey(c.slot.Load(), key.Load())
}

// record returns where the key of a block of a claim is, and the word that has
// its copies in its upper or lower half.
func (t *Tree) record(c *claim, pos int) (key, copies *atomic.Uint64) {
	n := int(c.toldLines.Load())
	w := t.words(c.told.Load(), n*lineWords)
	return &w[1+pos], &w[1+toldRoom(n)+pos/2]
}

// copies returns the copies of a block: a byte for each tier.
func (t *Tree) copies(c *claim, pos int) uint32 {
	if n := int(c.toldLines.Load()); n == 0 || pos >= toldRoom(n) {
		return 0
	}
	_, w := t.record(c, pos)
	return uint32(w.Load() >> (pos % 2 * 32))
}

func (t *Tree) setCopies(c *claim, pos int, n uint32) {
	_, w := t.record(c, pos)
	shift := pos % 2 * 32
	w.Store(w.Load()&^(0xffffffff<<shift) | uint64(n)<<shift)
}

// toldOf finds the block that an upstream's engine calls key.
func (t *Tree) toldOf(u *upstream, key uint64) (ref uint32, pos int) {
	h := toldKey(uint32(u.slot), key)
	for b := t.told.first(h); b != nil; b = t.told.next(b) {
		for i := range bucketSlots {
			s := b[i].Load()
			if s == 0 || (s^h)>>toldTagShift != 0 {
				continue
			}
			c := t.claim(uint32(s))
			if k, _ := t.record(c, toldPos(s)); k.Load() == key && int(c.slot.Load()) == u.slot {
				return uint32(s), toldPos(s)
			}
		}
	}
	return 0, 0
}

// tell notes another copy of a block of a claim, of which blocks up to end are
// told. There is room (see needTold).
func (t *Tree) tell(ref uint32, pos, end int, key uint64, tier Tier) {
	c := t.claim(ref)
	if n := int(c.toldLines.Load()); n == 0 || end > toldRoom(n) {
		t.resizeTold(ref, c, toldKind(end))
	}
	n := t.copies(c, pos)
	k, _ := t.record(c, pos)
	if n != 0 && k.Load() != key {
		t.untell(ref, pos) // it has another name now
		n = 0
	}
	if n == 0 {
		if old, at := t.toldOf(t.ups[c.slot.Load()], key); old != 0 {
			t.untell(old, at) // the name is another block's now
		}
		if c.toldLines.Load() == 0 { // that was the last one in the record
			t.resizeTold(ref, c, toldKind(end))
		}
		k, _ = t.record(c, pos)
		k.Store(key)
		h := toldKey(c.slot.Load(), key)
		t.told.enter(h, toldSlot(h, ref, pos))
	}
	t.setCopies(c, pos, oneMore(n, tier))
}

// untell forgets what was said about a block, and the record with its last one.
func (t *Tree) untell(ref uint32, pos int) {
	c := t.claim(ref)
	if t.copies(c, pos) == 0 {
		return
	}
	k, _ := t.record(c, pos)
	h := toldKey(c.slot.Load(), k.Load())
	t.told.leave(h, toldSlot(h, ref, pos))
	t.setCopies(c, pos, 0)
	n := int(c.toldLines.Load())
	for i := range (toldRoom(n) + 1) / 2 {
		if _, w := t.record(c, 2*i); w.Load() != 0 {
			return
		}
	}
	t.free(kindTold+kind(n-1), c.told.Load())
	c.told.Store(0)
	c.toldLines.Store(0)
}

// untellAll forgets what was said about a set of blocks of a claim.
func (t *Tree) untellAll(ref uint32, set uint64) {
	c := t.claim(ref)
	for pos := 0; pos < MaxRun && c.toldLines.Load() != 0; pos++ {
		if set>>pos&1 != 0 {
			t.untell(ref, pos)
		}
	}
}

// resizeTold gives a claim a record of kind k with what the old one says.
func (t *Tree) resizeTold(ref uint32, c *claim, k kind) {
	to := t.take(k)
	w := t.words(to, lines[k]*lineWords)
	w[0].Store(uint64(ref))
	for i := 1; i < len(w); i++ {
		w[i].Store(0)
	}
	old, was := c.told.Load(), int(c.toldLines.Load())
	room := toldRoom(lines[k])
	for pos := range min(toldRoom(was), room) {
		key, _ := t.record(c, pos)
		w[1+pos].Store(key.Load())
		half := &w[1+room+pos/2]
		half.Store(half.Load() | uint64(t.copies(c, pos))<<(pos%2*32))
	}
	c.told.Store(to)
	c.toldLines.Store(uint32(lines[k]))
	if was > 0 {
		t.free(kindTold+kind(was-1), old)
	}
}

// passTold hands what was said about the blocks from..end of a claim to another
// one; block pos of the one is block pos-shift of the other.
func (t *Tree) passTold(from, to uint32, first, end, shift int) {
	c, d := t.claim(from), t.claim(to)
	for pos := first; pos < end; pos++ {
		n := t.copies(c, pos)
		if n == 0 {
			continue
		}
		if l := int(d.toldLines.Load()); l == 0 || pos-shift >= toldRoom(l) {
			t.resizeTold(to, d, toldKind(min(MaxRun, end-shift)))
		}
		k, _ := t.record(c, pos)
		key := k.Load()
		h := toldKey(c.slot.Load(), key)
		nk, _ := t.record(d, pos-shift)
		nk.Store(key)
		t.told.replace(h, toldSlot(h, from, pos), toldSlot(h, to, pos-shift))
		t.setCopies(c, pos, 0)
		t.setCopies(d, pos-shift, n)
	}
}

// shiftTold moves what was said about a claim k blocks up, after its first k
// blocks went to another claim.
func (t *Tree) shiftTold(ref uint32, c *claim, k int) {
	left := false
	for pos := k; pos < toldRoom(int(c.toldLines.Load())); pos++ {
		n := t.copies(c, pos)
		if n == 0 {
			continue
		}
		left = true
		from, _ := t.record(c, pos)
		to, _ := t.record(c, pos-k)
		key := from.Load()
		h := toldKey(c.slot.Load(), key)
		to.Store(key)
		t.told.replace(h, toldSlot(h, ref, pos), toldSlot(h, ref, pos-k))
		t.setCopies(c, pos, 0)
		t.setCopies(c, pos-k, n)
	}
	if !left {
		t.free(kindTold+kind(c.toldLines.Load()-1), c.told.Load())
		c.told.Store(0)
		c.toldLines.Store(0)
	}
}

// ownTold makes a record and its slots name the claim that was moved.
func (t *Tree) ownTold(from, ref uint32) {
	c := t.claim(ref)
	n := int(c.toldLines.Load())
	if n == 0 {
		return
	}
	t.line(c.told.Load())[0].Store(uint64(ref))
	for pos := range toldRoom(n) {
		if t.copies(c, pos) != 0 {
			k, _ := t.record(c, pos)
			h := toldKey(c.slot.Load(), k.Load())
			t.told.replace(h, toldSlot(h, from, pos), toldSlot(h, ref, pos))
		}
	}
}

// needTold adds what it takes to tell n blocks of a claim up to block end.
func (t *Tree) needTold(need *[kinds]int, n, end int) {
	need[toldKind(end)] += 2
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
	t.tick()
	tight, renamed := false, len(e.Keys)
	for {
		if t.told.buckets() == 0 && !t.start(&t.told) {
			return false
		}
		u := t.upstreamOf(up)
		if u == nil || !t.mend(u) {
			return false
		}
		if renamed > 0 && !t.rename(u, e.Keys[len(e.Keys)-renamed:], e.Blocks[len(e.Blocks)-renamed:], &renamed) {
			t.yield()
			continue
		}
		t.restamp()
		in := insertion{t: t, u: u, chain: e.Blocks[:min(len(e.Blocks), stepRuns*MaxRun)], weight: e.Weight, event: &e, tight: tight}
		if !e.Root && !in.behind(e.Parent) {
			return false
		}
		stuck := false
		for in.done < len(in.chain) && !stuck && (in.done <= in.from || !t.tired()) && !u.unsettled() {
			stuck = !in.step()
		}
		t.rekey(u)
		if in.done-in.from == len(e.Blocks) && t.mend(u) {
			return true
		}
		if stuck && !in.lost {
			return false
		}
		// What is told is told once: go on behind it.
		if told := in.done - in.from; told > 0 {
			e.Root, e.Parent = false, e.Keys[told-1]
			e.Keys, e.Blocks = e.Keys[told:], e.Blocks[told:]
		}
		tight = in.tight
		t.yield()
	}
}

// rename takes the blocks from u that the keys of an event named until now. It
// counts left down, and returns false when others must be let in before the rest.
func (t *Tree) rename(u *upstream, keys, blocks []uint64, left *int) bool {
	for i, key := range keys {
		if i > 0 && t.tired() || u.unsettled() {
			return false
		}
		t.did(1)
		ref, pos := t.toldOf(u, key)
		if ref != 0 && t.hash(t.run(t.claim(ref).run.Load()), pos) != blocks[i] {
			t.lose(ref, 1<<pos)
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
		if ref, pos := t.toldOf(u, key); ref != 0 {
			c := t.claim(ref)
			t.setCopies(c, pos, oneMore(t.copies(c, pos), tier))
			known++
		}
		if t.did(2); t.tired() {
			t.yield()
		}
	}
	return known
}

// oneMore counts another copy in a tier.
func oneMore(copies uint32, tier Tier) uint32 {
	if shift := 8 * uint32(tier); copies>>shift&0xff < maxCopies {
		copies += 1 << shift
	}
	return copies
}

// behind starts an insertion behind the block that the engine calls key.
func (in *insertion) behind(key uint64) bool {
	t := in.t
	ref, pos := t.toldOf(in.u, key)
	if ref == 0 {
		return false
	}
	t.touchUp(in.u, ref)
	c := t.claim(ref)
	r := t.run(c.run.Load())
	chain := t.scratch[:0]
	for i := range pos + 1 {
		chain = append(chain, t.hash(r, i))
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
	t.tick()
	for _, key := range keys {
		u := t.upstreamOf(up)
		if u == nil || !t.mend(u) {
			return
		}
		if ref, pos := t.toldOf(u, key); ref != 0 {
			t.removeCopy(ref, pos, tier)
		}
		if t.did(2); t.tired() {
			t.yield()
		}
	}
	if u := t.upstreamOf(up); u != nil {
		t.mend(u)
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
		t.lose(ref, 1<<pos)
	}
}

// Lose records that up holds one block, chain[i], no more. What up holds behind
// it counts no more until the block is back by Insert or Stored.
func (t *Tree) DropBlock(up Upstream, chain []uint64, i int) {
	t.lock()
	defer t.unlock()
	t.tick()
	if u := t.upstreamOf(up); u != nil && i >= 0 && i < len(chain) && t.mend(u) {
		if ref, pos := t.claimAt(u, chain, i); ref != 0 {
			t.lose(ref, 1<<pos)
			t.mend(u)
		}
	}
}

// lose takes blocks off a claim.
func (t *Tree) lose(ref uint32, set uint64) {
	c := t.claim(ref)
	have := c.have.Load()
	if have&set == 0 {
		return
	}
	t.untellAll(ref, set)
	if have &^= set; have == 0 && c.child.Load() == 0 {
		t.dropClaim(ref)
		return
	}
	run := c.run.Load()
	t.setHave(ref, have)
	t.tidy(run)
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
	ref, pos := t.toldOf(u, key)
	if ref == 0 {
		return 0, false
	}
	return t.hash(t.run(t.claim(ref).run.Load()), pos), true
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
		ref := t.find(chain[pos], pos)
		if ref == 0 {
			return blocks
		}
		r := t.run(ref)
		n := t.matched(r, chain[pos:])
		_, e := t.holderOf(r, u.slot)
		for i := range min(n, holderWhole(e)) {
			blocks[fastest(t.copies(t.claim(holderClaim(e)), i))]++
		}
		if holderWhole(e) < r.len() || n < r.len() {
			return blocks
		}
		if pos += n; t.tired() {
			t.yield()
		}
	}
	return blocks
}

func fastest(copies uint32) Tier {
	switch {
	case copies == 0 || copies&0xff != 0:
		return GPU
	case copies>>8&0xff != 0:
		return CPU
	}
	return Disk
}

// marks is a set of upstreams by slot that can be read without a lock.
type marks [MaxUpstreams / 64]atomic.Uint64

func (m *marks) put(slot int, in bool) {
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
