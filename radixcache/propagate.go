// SPDX-License-Identifier: Apache-2.0

package radixcache

// When a claim gets or loses its last hole, what hangs on it must follow, and
// that can be very much. So it follows in steps between which others are let in:
//
//   - sinking: the holders' entries behind the claim lose their effective blocks,
//     leaves first; the claim's own entry is the last. Until then lookups answer
//     as before or shorter, and when the operation returns as is now true.
//   - rising: entries get their effective blocks from the claim down.
//
// So at each moment an upstream that is effective in a run is whole in the run
// before, and what lookups say it holds has no hole that was there before the
// operation under way.
//
// The way is kept in the claims: one that is sinking or rising has as cursor the
// claim on it that is next, or whose own are under way. These claims are a path,
// from where the change was down to upstream.active. What splits, moves, or drops
// claims keeps the path; runs on it are not joined until it is done with them.
// Operations for the upstream itself first do the rest of the steps (mend), so
// that they never meet a path of another one's.
//
// Claims without blocks that nothing hangs on any more go in the same way: at
// most one of an upstream is there, upstream.hollow.
const (
	idle uint32 = iota
	lowering
	raising
)

// mend does what is left over for an upstream, letting others in when it takes
// long. It returns false when the upstream is gone then.
func (t *Tree) finishPending(u *upstream) bool {
	for u.hasPending() {
		t.advancePending(u)
		if u.hasPending() || t.overBudget() {
			t.yield()
		}
	}
	if len(t.deferredMerges) > 0 && t.pendingUpstreams == 0 {
		t.mergeDeferred()
	}
	return u.id != 0
}

// place names a run beyond changes of the tree.
type runKey struct {
	head  uint64
	depth int
}

// maxUnjoined is how many runs are remembered that could not be joined with their
// child because of a path. Those beyond are joined when something next goes there.
const maxDeferredMerges = 16

// join joins runs for which a path was in the way.
func (t *Tree) mergeDeferred() {
	for _, p := range t.deferredMerges {
		if ref := t.findRun(p.head, p.depth); ref != 0 {
			t.merge(ref)
		}
	}
	t.deferredMerges = t.deferredMerges[:0]
}

func (u *upstream) hasPending() bool { return u.pathEnd != 0 || u.emptyClaim != 0 }

// mendSome does steps until none is left or it is time to let others in.
func (t *Tree) advancePending(u *upstream) {
	for u.emptyClaim != 0 && !t.overBudget() {
		t.dropClaim(u.emptyClaim)
	}
	for u.pathEnd != 0 && !t.overBudget() {
		t.propagateStep(u)
	}
}

// setActive and setHollow note what is left over.
func (t *Tree) setPathEnd(u *upstream, ref uint32) {
	was := u.hasPending()
	u.pathEnd = ref
	t.countPending(was, u)
}

func (t *Tree) setEmptyClaim(u *upstream, ref uint32) {
	was := u.hasPending()
	u.emptyClaim = ref
	t.countPending(was, u)
}

func (t *Tree) countPending(was bool, u *upstream) {
	if is := u.hasPending(); is && !was {
		t.pendingUpstreams++
	} else if was && !is {
		t.pendingUpstreams--
	}
}

// begin puts a claim on the path, at its end.
func (t *Tree) extendPath(u *upstream, ref uint32, c *claim, state uint32) {
	c.state.Store(state)
	c.cursor.Store(c.child.Load())
	t.setPathEnd(u, ref)
}

// mendStep does the next claim, or leaves the end of the path when it has no more.
func (t *Tree) propagateStep(u *upstream) {
	ref := u.pathEnd
	c := t.claim(ref)
	next := c.cursor.Load()
	if next == 0 {
		t.endPath(u, ref)
		return
	}
	d := t.claim(next)
	r := t.run(d.run.Load())
	i, was := t.findHolder(r, u.slot)
	state, n := c.state.Load(), 0
	if state == raising {
		n = contiguous(d.present.Load())
	}
	passes := n == r.blocks() || state == lowering && holderEffective(was) == r.blocks()
	if passes && d.child.Load() != 0 {
		if state == raising {
			t.setEffectiveBlocks(r, i, n)
		}
		t.extendPath(u, next, d, state)
		return
	}
	t.setEffectiveBlocks(r, i, n)
	c.cursor.Store(d.next.Load())
}

// putWhole sets the effective blocks of entry i of a run.
func (t *Tree) setEffectiveBlocks(r *run, i, n int) {
	e := t.holderAt(r, i).Load()
	if holderEffective(e) == n {
		return
	}
	t.beginWrite(r.head.Load())
	t.setHolder(r, i, e&^0xff00|uint64(n)<<8)
	t.endWrite(r.head.Load())
}

// finish takes the end off the path.
func (t *Tree) endPath(u *upstream, ref uint32) {
	c := t.claim(ref)
	r := t.run(c.run.Load())
	state, parent := c.state.Load(), t.parentClaim(c)
	t.removeFromPath(u, ref, c, parent)
	if state == lowering {
		n := 0
		if u.pathEnd == 0 && t.holdsParent(r, u.slot) {
			n = contiguous(c.present.Load())
		}
		i, _ := t.findHolder(r, u.slot)
		t.setEffectiveBlocks(r, i, n)
		if n == r.blocks() && c.child.Load() != 0 { // it was cut off from the hole meanwhile
			t.extendPath(u, ref, c, raising)
		}
	}
}

// offPath makes the path end before ref, and go on behind it.
func (t *Tree) removeFromPath(u *upstream, ref uint32, c *claim, parent uint32) {
	c.state.Store(idle)
	next := uint32(0)
	if parent != 0 {
		if p := t.claim(parent); p.state.Load() != idle {
			next = parent
			if p.cursor.Load() == ref {
				p.cursor.Store(c.next.Load())
			}
		}
	}
	t.setPathEnd(u, next)
}

// reachable tells whether an upstream is whole in the run before r.
func (t *Tree) holdsParent(r *run, slot int) bool {
	p := r.parent()
	if p == 0 {
		return true
	}
	_, e := t.findHolder(t.run(p), slot)
	return holderEffective(e) == t.run(p).blocks()
}

// passCursor makes the path go to the claim by where it went to ref, a claim of
// u that hangs on parent.
func (t *Tree) replaceCursor(parent, ref, by uint32) {
	if parent == 0 {
		return
	}
	if p := t.claim(parent); p.state.Load() != idle && p.cursor.Load() == ref {
		p.cursor.Store(by)
	}
}

// movedOnPath keeps the path when the claim ref, which hangs on parent, is moved.
func (t *Tree) movePending(u *upstream, parent, ref, to uint32) {
	if u.emptyClaim == ref {
		u.emptyClaim = to
	}
	if u.pathEnd == 0 {
		return
	}
	if u.pathEnd == ref {
		u.pathEnd = to
	}
	t.replaceCursor(parent, ref, to)
}

// splitPath keeps the path when the claim ref is cut in two: part is the upper
// one, with k blocks, and hangs on parent.
func (t *Tree) splitPath(ref, part, parent uint32, k int) {
	c, p := t.claim(ref), t.claim(part)
	t.replaceCursor(parent, ref, part)
	state := c.state.Load()
	below := parent != 0 && t.claim(parent).state.Load() != idle
	// When all that was lost is in the lower part, that is where the path begins.
	if state != idle && (below || state == lowering && contiguous(p.present.Load()) < k) {
		p.state.Store(state)
		p.cursor.Store(ref)
	}
}

// onPath tells whether runs may not be joined because of claims on low, or those
// they hang on, on up.
func (t *Tree) mergeBlocked(up, low *run) bool {
	if t.pendingUpstreams == 0 {
		return false
	}
	for _, r := range []*run{up, low} {
		t.addWork(1 + r.numHolders())
		for i := range r.numHolders() {
			ref := holderClaim(t.holderAt(r, i).Load())
			if c := t.claim(ref); c.state.Load() != idle || t.ups[c.slot.Load()].emptyClaim == ref {
				if len(t.deferredMerges) < cap(t.deferredMerges) {
					t.deferredMerges = append(t.deferredMerges, runKey{up.head.Load(), up.depth()})
				}
				return true
			}
		}
	}
	return false
}
