// SPDX-License-Identifier: Apache-2.0

package radixcache

// When a claim gets its first hole, the blocks of all claims behind it stop to
// count; when it loses its last one, they count again. That can be a great many
// claims. So the change is propagated in steps, and other operations run between
// them:
//
//   - lowering: the effective blocks of the holders behind the claim go to 0,
//     leaves first; the claim's own holder is the last. Until then lookups answer
//     as before or shorter, and afterwards what is now true.
//   - raising: the holders get their effective blocks back, from the claim down.
//
// So at each moment an upstream that is effective in a run holds all of the run
// before it. Lookups never count blocks behind a hole that was there before the
// operation under way.
//
// The claims themselves keep the progress. The cursor of a claim that is lowering
// or raising is its child claim that is next, or that is under way itself. These
// claims form a path, from where the change was down to upstream.pathEnd. Whatever
// splits, moves or drops claims keeps the path; runs on it are not joined until it
// has left them. Operations for the same upstream finish the path first, so they
// never meet one of an earlier operation.
//
// Empty claims whose last child claim was dropped are dropped in the same way. An
// upstream has at most one that waits for that, upstream.emptyClaim.
const (
	idle uint32 = iota
	lowering
	raising
)

// finishPending finishes what earlier operations left over for an upstream. It
// lets others in when that takes long, and returns false when the upstream is gone
// then.
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

// runKey names a run beyond changes of the tree.
type runKey struct {
	head  uint64
	depth int
}

// maxDeferredMerges bounds the list of runs that could not be joined with their
// child because of a path. Further ones stay until something is dropped there again.
const maxDeferredMerges = 16

// mergeDeferred joins the runs that a path was in the way of.
func (t *Tree) mergeDeferred() {
	for _, p := range t.deferredMerges {
		if ref := t.findRun(p.head, p.depth); ref != 0 {
			t.merge(ref)
		}
	}
	t.deferredMerges = t.deferredMerges[:0]
}

func (u *upstream) hasPending() bool { return u.pathEnd != 0 || u.emptyClaim != 0 }

// advancePending does steps until none is left or the work budget is used up.
func (t *Tree) advancePending(u *upstream) {
	for u.emptyClaim != 0 && !t.overBudget() {
		t.dropClaim(u.emptyClaim)
	}
	for u.pathEnd != 0 && !t.overBudget() {
		t.propagateStep(u)
	}
}

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

// countPending keeps pendingUpstreams after a change of what is pending for u.
func (t *Tree) countPending(was bool, u *upstream) {
	if is := u.hasPending(); is && !was {
		t.pendingUpstreams++
	} else if was && !is {
		t.pendingUpstreams--
	}
}

// extendPath puts a claim at the end of the path.
func (t *Tree) extendPath(u *upstream, ref uint32, c *claim, state uint32) {
	c.state.Store(state)
	c.cursor.Store(c.child.Load())
	t.setPathEnd(u, ref)
}

// propagateStep does the next child claim of the path's end, or takes the end off
// the path when it has no more.
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
	passes := n == r.blocks() || state == lowering && was.effective() == r.blocks()
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

// setEffectiveBlocks sets the effective blocks of holder i of a run.
func (t *Tree) setEffectiveBlocks(r *run, i, n int) {
	h := t.holder(r, i)
	if h.effective() == n {
		return
	}
	t.beginWrite(r.head.Load())
	t.setHolder(r, i, h.withEffective(n))
	t.endWrite(r.head.Load())
}

// endPath takes the end off the path.
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
		if n == r.blocks() && c.child.Load() != 0 { // the hole was split off meanwhile
			t.extendPath(u, ref, c, raising)
		}
	}
}

// forgetPending prepares for the claim ref to be dropped.
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

// removeFromPath takes ref, the end of the path, off it: its parent claim is the
// new end, and goes on with its next child claim.
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

// holdsParent tells whether an upstream holds all of the run before r, without a
// hole since the root.
func (t *Tree) holdsParent(r *run, slot int) bool {
	p := r.parent()
	if p == 0 {
		return true
	}
	_, h := t.findHolder(t.run(p), slot)
	return h.effective() == t.run(p).blocks()
}

// replaceCursor puts the claim by in the place of ref in the cursor of its parent
// claim.
func (t *Tree) replaceCursor(parent, ref, by uint32) {
	if parent == 0 {
		return
	}
	if p := t.claim(parent); p.state.Load() != idle && p.cursor.Load() == ref {
		p.cursor.Store(by)
	}
}

// movePending corrects what is pending for u after the claim ref has moved.
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

// splitPath keeps the path when the claim ref is cut in two. part is the upper
// part, with k blocks, and the new child claim of parent.
func (t *Tree) splitPath(ref, part, parent uint32, k int) {
	c, p := t.claim(ref), t.claim(part)
	t.replaceCursor(parent, ref, part)
	state := c.state.Load()
	underPath := parent != 0 && t.claim(parent).state.Load() != idle
	// When all holes are in the lower part, the path begins there.
	if state != idle && (underPath || state == lowering && contiguous(p.present.Load()) < k) {
		p.state.Store(state)
		p.cursor.Store(ref)
	}
}

// mergeBlocked tells whether two runs must not be joined yet, because something is
// pending for a claim on one of them. It then notes them for mergeDeferred.
func (t *Tree) mergeBlocked(up, low *run) bool {
	if t.pendingUpstreams == 0 {
		return false
	}
	for _, r := range []*run{up, low} {
		t.addWork(1 + r.numHolders())
		for i := range r.numHolders() {
			ref := t.holder(r, i).claim()
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
