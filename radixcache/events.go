// SPDX-License-Identifier: Apache-2.0

package radixcache

// Tier says where an engine keeps a block.
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

	// Repeated says that the event may repeat what is known: a block that up has
	// in the tier already gets no further copy.
	Repeated bool
}

// Stored records blocks that an engine stored, and makes up's claims on the way
// there the youngest. It returns false when the parent is not known, or there is
// no room: then nothing, or only the first of the blocks, was recorded. When a key
// named another block until now, up loses that block.
func (t *Tree) Stored(up Upstream, e StoredBlocks) bool {
	if len(e.Keys) != len(e.Blocks) || e.Tier >= NumTiers {
		return false
	}
	t.lock()
	defer t.unlock()
	t.startOperation()
	s := storing{t: t, up: up, StoredBlocks: e, unchecked: len(e.Keys)}
	for {
		if done, ok := s.step(); done || !ok {
			return ok
		}
		t.yield()
	}
}

// storing is one Stored under way, with the rest of the event.
type storing struct {
	t  *Tree
	up Upstream
	StoredBlocks
	unchecked     int // blocks at the end whose keys may name other blocks still
	oneRunAtATime bool
}

// step records some of the blocks. The caller lets others in before the next step.
// ok is false when the rest cannot be recorded.
func (s *storing) step() (done, ok bool) {
	t := s.t
	if t.byKey.buckets() == 0 && !t.startTable(&t.byKey) {
		return false, false
	}
	u := t.upstreamOf(s.up)
	if u == nil || !t.finishPending(u) {
		return false, false
	}
	if s.unchecked > 0 && !s.dropRenamed(u) {
		return false, true
	}
	t.newStamp()
	in := insertion{
		t: t, u: u, chain: s.Blocks[:min(len(s.Blocks), runsPerStep*MaxRun)], weight: s.Weight,
		event: &s.StoredBlocks, oneRunAtATime: s.oneRunAtATime,
	}
	if !s.Root && !in.startBehind(s.Parent) {
		return false, false
	}
	stuck := false
	for in.done < len(in.chain) && !stuck && (in.done <= in.from || !t.overBudget()) && !u.hasPending() {
		stuck = !in.step()
	}
	t.updateHeapKey(u)
	recorded := in.done - in.from
	if recorded == len(s.Blocks) && t.finishPending(u) {
		return true, true
	}
	if stuck && !in.interrupted {
		return false, false
	}
	if recorded > 0 { // each copy counts once: go on behind what is recorded
		s.Root, s.Parent = false, s.Keys[recorded-1]
		s.Keys, s.Blocks = s.Keys[recorded:], s.Blocks[recorded:]
	}
	s.oneRunAtATime = in.oneRunAtATime
	return false, true
}

// dropRenamed takes the blocks from u that the keys of the event named until now.
// It returns false when others must be let in before the rest.
func (s *storing) dropRenamed(u *upstream) bool {
	t, first := s.t, len(s.Keys)-s.unchecked
	for i, key := range s.Keys[first:] {
		if i > 0 && t.overBudget() || u.hasPending() {
			return false
		}
		t.addWork(1)
		ref, block := t.findKey(u, key)
		if ref != 0 && t.hashAt(t.run(t.claim(ref).run.Load()), block) != s.Blocks[first+i] {
			t.removeBlocks(ref, 1<<block)
		}
		s.unchecked--
	}
	return true
}

// startBehind starts an insertion behind the block that the engine calls key.
func (in *insertion) startBehind(key uint64) bool {
	t := in.t
	ref, block := t.findKey(in.u, key)
	if ref == 0 {
		return false
	}
	t.touchUp(in.u, ref)
	c := t.claim(ref)
	r := t.run(c.run.Load())
	chain := t.scratch[:0]
	for i := range block + 1 {
		chain = append(chain, t.hashAt(r, i))
	}
	if len(chain)+len(in.chain) <= cap(chain) {
		in.chain = append(chain, in.chain...)
	} else {
		in.chain = append(append(make([]uint64, 0, len(chain)+len(in.chain)), chain...), in.chain...)
	}
	in.base, in.from = r.depth(), block+1
	in.run, in.claim = r.parent(), t.parentClaim(c)
	return true
}

// Copied records that an engine now has a copy of each of these blocks in another
// tier. It returns how many of them are known; the others are passed over. It
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
		if ref, block := t.findKey(u, key); ref != 0 {
			w := t.recordOf(t.claim(ref))
			w.setCopies(block, w.copies(block).add(tier))
			known++
		}
		if t.addWork(2); t.overBudget() {
			t.yield()
		}
	}
	return known
}

// SingleCopies records that up's engine has no second copy on the GPU of the blocks
// chain[from:]. Blocks that it does not hold are passed over.
func (t *Tree) SingleCopies(up Upstream, chain []uint64, from int) {
	t.lock()
	defer t.unlock()
	for i := max(from, 0); i < len(chain); i++ {
		u := t.upstreamOf(up)
		if u == nil {
			return
		}
		if ref, block := t.findClaim(u, chain, i); ref != 0 {
			if n := t.copiesOf(t.claim(ref), block); n.in(GPU) > 1 {
				t.recordOf(t.claim(ref)).setCopies(block, n.single(GPU))
			}
		}
		if t.addWork(2); t.overBudget() {
			t.yield()
		}
	}
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
		if ref, block := t.findKey(u, key); ref != 0 {
			t.removeCopy(ref, block, tier)
		}
		if t.addWork(2); t.overBudget() {
			t.yield()
		}
	}
	if u := t.upstreamOf(up); u != nil {
		t.finishPending(u)
	}
}

func (t *Tree) removeCopy(ref uint32, block int, tier Tier) {
	w := t.recordOf(t.claim(ref))
	if left := w.copies(block).remove(tier); left != 0 {
		w.setCopies(block, left)
	} else {
		t.removeBlocks(ref, 1<<block)
	}
}

// BlockByKey returns the chain element of the block that up's engine calls key.
// The hashes of the blocks behind it build on that.
func (t *Tree) BlockByKey(up Upstream, key uint64) (hash uint64, ok bool) {
	t.lock()
	defer t.unlock()
	u := t.upstreamOf(up)
	if u == nil {
		return 0, false
	}
	ref, block := t.findKey(u, key)
	if ref == 0 {
		return 0, false
	}
	return t.hashAt(t.run(t.claim(ref).run.Load()), block), true
}
