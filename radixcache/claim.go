// SPDX-License-Identifier: Apache-2.0

package radixcache

import "math/bits"

// allocClaim allocates a claim of u on a run with some of its blocks. Its memory
// is reserved. The caller links it.
func (t *Tree) allocClaim(slot, run, weight uint32, stamp, present uint64) uint32 {
	ref := t.mustAlloc(kindClaim)
	c := t.claim(ref)
	c.stamp.Store(stamp)
	c.present.Store(present)
	c.run.Store(run)
	c.slot.Store(slot)
	c.weight.Store(weight)
	c.child.Store(0)
	c.record.Store(0)
	c.recordLines.Store(0)
	c.state.Store(idle)
	c.cursor.Store(0)
	t.claims++
	return ref
}

// newClaim makes an empty claim of u on a run, with its holder, under a parent
// claim (0 for none). The memory is reserved. The caller links it by age.
func (t *Tree) newClaim(u *upstream, run, parent, weight uint32) uint32 {
	ref := t.allocClaim(uint32(u.slot), run, weight, t.childStamp(parent), 0)
	t.addWork(2)
	t.pushSibling(u, ref, parent)
	r := t.run(run)
	t.beginWrite(r.head.Load())
	t.addHolder(r, newHolder(ref, u.slot, 0, 0))
	t.endWrite(r.head.Load())
	return ref
}

func (t *Tree) pushSibling(u *upstream, ref, parent uint32) {
	c := t.claim(ref)
	first := u.roots
	if parent != 0 {
		first = t.claim(parent).child.Load()
		t.claim(parent).child.Store(ref)
	} else {
		u.roots = ref
	}
	c.prev.Store(0)
	c.next.Store(first)
	if first != 0 {
		t.claim(first).prev.Store(ref)
	}
}

// replaceSibling puts the claim by in the place of ref; by 0 just takes ref out.
// parent is the parent claim of ref, 0 for none.
func (t *Tree) replaceSibling(u *upstream, ref, by, parent uint32) {
	c := t.claim(ref)
	prev, next := c.prev.Load(), c.next.Load()
	first, last := next, prev
	if by != 0 {
		b := t.claim(by)
		b.prev.Store(prev)
		b.next.Store(next)
		first, last = by, by
	}
	switch {
	case prev != 0:
		t.claim(prev).next.Store(first)
	case parent != 0:
		t.claim(parent).child.Store(first)
	default:
		u.roots = first
	}
	if next != 0 {
		t.claim(next).prev.Store(last)
	}
}

// parentClaim is the parent claim of c, 0 for none.
func (t *Tree) parentClaim(c *claim) uint32 {
	p := t.run(c.run.Load()).parent()
	if p == 0 {
		return 0
	}
	_, h := t.findHolder(t.run(p), int(c.slot.Load()))
	return h.claim()
}

// setPresent changes the blocks of a claim, and what follows from them: tokens,
// the holder, and the effective blocks of all claims behind it.
func (t *Tree) setPresent(ref uint32, present uint64) {
	c := t.claim(ref)
	u := t.ups[c.slot.Load()]
	n := bits.OnesCount64(present) - c.blocks()
	u.blocks += n
	u.tokens += int64(n) * int64(c.weight.Load())
	c.present.Store(present)
	t.updateHolder(ref)
}

// setWeight changes how many tokens the blocks of a claim stand for.
func (t *Tree) setWeight(c *claim, weight uint32) {
	if was := c.weight.Load(); was != weight {
		t.ups[c.slot.Load()].tokens += (int64(weight) - int64(was)) * int64(c.blocks())
		c.weight.Store(weight)
	}
}

// updateHolder brings the holder of a claim in line with its blocks, and those of
// the claims behind it that this concerns. What is too much for one step stays
// pending: the operation must call finishPending before it does anything else.
func (t *Tree) updateHolder(ref uint32) {
	c := t.claim(ref)
	u := t.ups[c.slot.Load()]
	r := t.run(c.run.Load())
	i, was := t.findHolder(r, u.slot)
	n := 0
	if t.holdsParent(r, u.slot) {
		n = contiguous(c.present.Load())
	}
	before, after := was.effective() == r.blocks(), n == r.blocks()
	state := idle
	if c.child.Load() != 0 && before != after {
		if state = raising; before {
			state, n = lowering, was.effective() // until nothing behind it counts
		}
	}
	if h := newHolder(ref, u.slot, n, coverage(c.present.Load())); h != was {
		t.beginWrite(r.head.Load())
		t.setHolder(r, i, h)
		t.endWrite(r.head.Load())
	}
	if state != idle {
		t.extendPath(u, ref, c, state)
		t.advancePending(u)
	}
}

// splitClaim cuts a claim after k blocks of its run. The lower part stays, with
// its child claims. The new upper part, a claim on the run up, is returned. parent
// is its parent claim.
func (t *Tree) splitClaim(ref, up, parent uint32, k int) uint32 {
	c := t.claim(ref)
	u := t.ups[c.slot.Load()]
	present := c.present.Load()
	part := t.allocClaim(c.slot.Load(), up, c.weight.Load(), c.stamp.Load(), present&(1<<k-1))
	t.claim(part).child.Store(ref)
	t.addWork(4)
	if u.pathEnd != 0 {
		t.splitPath(ref, part, parent, k)
	}
	t.replaceSibling(u, ref, part, parent)
	c.prev.Store(0)
	c.next.Store(0)
	c.present.Store(present >> k)
	if c.recordLines.Load() != 0 {
		t.moveEntries(ref, part, k, 0)
		t.shiftEntries(ref, c, k)
	}
	t.linkAgeAfter(u, part, ref)
	return part
}

// mergeClaim adds the claim low, k blocks further down, to its parent claim.
func (t *Tree) mergeClaim(ref, low uint32, k int) {
	c, d := t.claim(ref), t.claim(low)
	u := t.ups[c.slot.Load()]
	t.setWeight(d, c.weight.Load())
	t.addWork(4)
	c.present.Store(c.present.Load() | d.present.Load()<<k)
	if n := int(d.recordLines.Load()); n != 0 {
		t.moveEntries(low, ref, recordCapacity(n), -k)
		t.freeRecord(d)
	}
	c.child.Store(d.child.Load())
	t.unlinkAge(u, d)
	t.free(kindClaim, low)
	t.claims--
}

// dropClaim drops a claim without child claims, and with it all that becomes useless:
// empty parent claims, blocks, runs.
func (t *Tree) dropClaim(ref uint32) {
	for ref != 0 {
		c := t.claim(ref)
		u := t.ups[c.slot.Load()]
		if ref = t.dropOne(u, ref, c); ref == 0 {
			return
		}
		if p := t.claim(ref); p.child.Load() != 0 || p.present.Load() != 0 {
			if p.child.Load() == 0 && p.state.Load() != idle {
				t.endPath(u, ref) // before its run gets other claims
			}
			return
		}
		if t.overBudget() && u.emptyClaim == 0 {
			t.setEmptyClaim(u, ref)
			return
		}
	}
}

// dropOne drops one claim of u and returns its parent claim.
func (t *Tree) dropOne(u *upstream, ref uint32, c *claim) uint32 {
	run, parent := c.run.Load(), t.parentClaim(c)
	t.forgetPending(u, ref, c, parent)
	n := c.blocks()
	u.blocks -= n
	u.tokens -= int64(n) * int64(c.weight.Load())
	t.forgetKeys(ref, ^uint64(0))
	t.unlinkAge(u, c)
	t.replaceSibling(u, ref, 0, parent)
	r := t.run(run)
	i, _ := t.findHolder(r, u.slot)
	t.beginWrite(r.head.Load())
	t.removeHolder(r, i)
	t.endWrite(r.head.Load())
	t.free(kindClaim, ref)
	t.claims--
	t.addWork(6)
	t.prune(run)
	return parent
}
