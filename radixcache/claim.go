// SPDX-License-Identifier: Apache-2.0

package radixcache

import (
	"math/bits"
	"sync/atomic"
)

// claim says what one upstream holds of one run: one line of the arena, read
// and written under Tree.mu only.
//
// The claims of an upstream form a tree of their own (child, next, prev): a
// claim on a run implies one on the run's parent, if need be an empty one. And
// they form a list by age in which a claim is always older than the one it
// hangs on, so that the oldest claim is a leaf.
type claim struct {
	stamp       atomic.Uint64 // when it was made or confirmed, see Tree.stamp
	present     atomic.Uint64 // presence: a bit for each block of the run
	run         atomic.Uint32
	slot        atomic.Uint32 // of the upstream
	weight      atomic.Uint32 // tokens a block
	older       atomic.Uint32
	younger     atomic.Uint32
	child       atomic.Uint32 // first claim on a child of the run
	next        atomic.Uint32 // sibling
	prev        atomic.Uint32 // sibling, 0 for the first
	record      atomic.Uint32 // what events said about its blocks, see events.go
	recordLines atomic.Uint32
	state       atomic.Uint32 // settled, or on the way there: see mend.go
	cursor      atomic.Uint32 // on the way: the claim on it that is next
}

func (c *claim) blocks() int { return bits.OnesCount64(c.present.Load()) }

// whole is how many blocks at its start a set of blocks has without a hole.
func contiguous(have uint64) int { return bits.TrailingZeros64(^have) }

// newClaim makes an empty claim of u on a run, under the claim parent (0: on a
// root), with its entry in the run. There is room for both (see reserve).
func (t *Tree) newClaim(u *upstream, run, parent, weight uint32) uint32 {
	ref := t.mustAlloc(kindClaim)
	c := t.claim(ref)
	c.stamp.Store(t.childStamp(parent))
	c.present.Store(0)
	c.run.Store(run)
	c.slot.Store(uint32(u.slot))
	c.weight.Store(weight)
	c.child.Store(0)
	c.record.Store(0)
	c.recordLines.Store(0)
	c.state.Store(idle)
	c.cursor.Store(0)
	t.addWork(2)
	t.pushSibling(u, ref, parent)
	r := t.run(run)
	t.beginWrite(r.head.Load())
	t.addHolder(r, newHolder(ref, u.slot, 0, 0))
	t.endWrite(r.head.Load())
	t.claims++
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
// parent is the claim ref hangs on, 0 on a root.
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

// parentClaim is the claim that the claim c hangs on, 0 on a root.
func (t *Tree) parentClaim(c *claim) uint32 {
	p := t.run(c.run.Load()).parent()
	if p == 0 {
		return 0
	}
	_, e := t.findHolder(t.run(p), int(c.slot.Load()))
	return holderClaim(e)
}

// setHave changes which blocks of its run a claim has, and what follows from
// that: tokens, the holder's entry, and the effective depth of all behind.
func (t *Tree) setPresent(ref uint32, have uint64) {
	c := t.claim(ref)
	u := t.ups[c.slot.Load()]
	n := bits.OnesCount64(have) - c.blocks()
	u.blocks += n
	u.tokens += int64(n) * int64(c.weight.Load())
	c.present.Store(have)
	t.updateHolder(ref)
}

// setWeight changes how many tokens the blocks of a claim stand for.
func (t *Tree) setWeight(c *claim, weight uint32) {
	if was := c.weight.Load(); was != weight {
		t.ups[c.slot.Load()].tokens += (int64(weight) - int64(was)) * int64(c.blocks())
		c.weight.Store(weight)
	}
}

// refresh brings the holder's entry of a claim in line with what is present, and
// the claims behind it that this concerns. What is too much for one step is left
// to mend, which the operation must call before it does anything else.
func (t *Tree) updateHolder(ref uint32) {
	c := t.claim(ref)
	u := t.ups[c.slot.Load()]
	r := t.run(c.run.Load())
	i, was := t.findHolder(r, u.slot)
	n := 0
	if t.holdsParent(r, u.slot) {
		n = contiguous(c.present.Load())
	}
	before, after := holderEffective(was) == r.blocks(), n == r.blocks()
	state := idle
	if c.child.Load() != 0 && before != after {
		if state = raising; before {
			state, n = lowering, holderEffective(was) // until nothing behind it counts
		}
	}
	if e := newHolder(ref, u.slot, n, bits.Len64(c.present.Load())); e != was {
		t.beginWrite(r.head.Load())
		t.setHolder(r, i, e)
		t.endWrite(r.head.Load())
	}
	if state != idle {
		t.extendPath(u, ref, c, state)
		t.advancePending(u)
	}
}

// splitClaim cuts a claim after k blocks of its run. The lower part stays, with
// what hangs on it; the upper part, a claim on the run up, is returned. parent is
// the claim that it hangs on.
func (t *Tree) splitClaim(ref, up, parent uint32, k int) uint32 {
	c := t.claim(ref)
	u := t.ups[c.slot.Load()]
	part := t.mustAlloc(kindClaim)
	p := t.claim(part)
	have := c.present.Load()
	p.stamp.Store(c.stamp.Load())
	p.present.Store(have & (1<<k - 1))
	p.run.Store(up)
	p.slot.Store(c.slot.Load())
	p.weight.Store(c.weight.Load())
	p.child.Store(ref)
	p.record.Store(0)
	p.recordLines.Store(0)
	p.state.Store(idle)
	p.cursor.Store(0)
	t.addWork(4)
	if u.pathEnd != 0 {
		t.splitPath(ref, part, parent, k)
	}
	t.replaceSibling(u, ref, part, parent)
	c.prev.Store(0)
	c.next.Store(0)
	c.present.Store(have >> k)
	if c.recordLines.Load() != 0 {
		t.moveEntries(ref, part, 0, k, 0)
		t.shiftEntries(ref, c, k)
	}
	t.linkAgeAfter(u, part, ref)
	t.claims++
	return part
}

// touchUp makes a claim and those it hangs on as young as this operation.
func (t *Tree) touchUp(u *upstream, ref uint32) {
	for ; ref != 0; ref = t.parentClaim(t.claim(ref)) {
		t.touch(u, ref, 0)
	}
}

// mergeClaim adds the claim low, k blocks further down, to the claim it hangs on.
func (t *Tree) mergeClaim(ref, low uint32, k int) {
	c, d := t.claim(ref), t.claim(low)
	u := t.ups[c.slot.Load()]
	t.setWeight(d, c.weight.Load())
	t.addWork(4)
	c.present.Store(c.present.Load() | d.present.Load()<<k)
	if d.recordLines.Load() != 0 {
		t.moveEntries(low, ref, 0, recordCapacity(int(d.recordLines.Load())), -k)
		t.free(kindRecord+kind(d.recordLines.Load()-1), d.record.Load())
	}
	c.child.Store(d.child.Load())
	t.unlinkAge(u, d)
	t.free(kindClaim, low)
	t.claims--
}

// dropClaim drops a claim that nothing hangs on, and what nobody needs any
// more: claims that were only there to hang it on, blocks, runs.
func (t *Tree) dropClaim(ref uint32) {
	for ref != 0 {
		c := t.claim(ref)
		u := t.ups[c.slot.Load()]
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
		if ref = parent; ref == 0 {
			return
		}
		if p := t.claim(ref); p.child.Load() != 0 || p.present.Load() != 0 {
			if p.child.Load() == 0 && p.state.Load() != idle {
				t.endPath(u, ref) // before anything else can come to be on its run
			}
			return
		}
		if t.overBudget() && u.emptyClaim == 0 {
			t.setEmptyClaim(u, ref)
			return
		}
	}
}

// leavePath prepares for ref to be dropped.
func (t *Tree) forgetPending(u *upstream, ref uint32, c *claim, parent uint32) {
	if u.emptyClaim == ref {
		t.setEmptyClaim(u, 0)
	}
	if u.pathEnd == ref {
		t.removeFromPath(u, ref, c, parent)
	} else if u.pathEnd != 0 {
		t.replaceCursor(parent, ref, c.next.Load())
	}
}

// unlink takes a claim out of the list by age.
func (t *Tree) unlinkAge(u *upstream, c *claim) {
	older, younger := c.older.Load(), c.younger.Load()
	if older != 0 {
		t.claim(older).younger.Store(younger)
	} else {
		u.oldest = younger
	}
	if younger != 0 {
		t.claim(younger).older.Store(older)
	} else {
		u.youngest = older
	}
}

// linkYounger puts a claim into the list by age, next to ref on its younger side.
func (t *Tree) linkAgeAfter(u *upstream, add, ref uint32) {
	younger := t.claim(ref).younger.Load()
	t.linkAgeBefore(u, add, younger)
}

// linkOlder puts a claim into the list by age, next to ref on its older side;
// ref 0 makes it the youngest.
func (t *Tree) linkAgeBefore(u *upstream, add, ref uint32) {
	a := t.claim(add)
	older := u.youngest
	if ref != 0 {
		older = t.claim(ref).older.Load()
		t.claim(ref).older.Store(add)
	} else {
		u.youngest = add
	}
	a.older.Store(older)
	a.younger.Store(ref)
	if older != 0 {
		t.claim(older).younger.Store(add)
	} else {
		u.oldest = add
	}
}

// stampBelow is the stamp of what hangs on a claim when it is made or confirmed:
// the same, which may be later than the operation's; 0 is for no claim.
func (t *Tree) childStamp(ref uint32) uint64 {
	if ref == 0 {
		return t.stamp
	}
	return t.claim(ref).stamp.Load()
}

// touch makes a claim as young as this operation, and next to ref on its older
// side: ref is the claim it hangs on, just touched itself, or 0 for the first.
func (t *Tree) touch(u *upstream, add, ref uint32) {
	c := t.claim(add)
	c.stamp.Store(t.childStamp(ref))
	if c.younger.Load() == ref {
		return // also true of the youngest with ref 0
	}
	t.unlinkAge(u, c)
	t.linkAgeBefore(u, add, ref)
}
