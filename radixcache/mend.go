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
	settled uint32 = iota
	sinking
	rising
)

// mend does what is left over for an upstream, letting others in when it takes
// long. It returns false when the upstream is gone then.
func (t *Tree) mend(u *upstream) bool {
	for u.unsettled() {
		t.mendSome(u)
		if u.unsettled() || t.tired() {
			t.yield()
		}
	}
	if len(t.unjoined) > 0 && t.mending == 0 {
		t.join()
	}
	return u.id != 0
}

// place names a run beyond changes of the tree.
type place struct {
	head  uint64
	depth int
}

// maxUnjoined is how many runs are remembered that could not be joined with their
// child because of a path. Those beyond are joined when something next goes there.
const maxUnjoined = 16

// join joins runs for which a path was in the way.
func (t *Tree) join() {
	for _, p := range t.unjoined {
		if ref := t.find(p.head, p.depth); ref != 0 {
			t.merge(ref)
		}
	}
	t.unjoined = t.unjoined[:0]
}

func (u *upstream) unsettled() bool { return u.active != 0 || u.hollow != 0 }

// mendSome does steps until none is left or it is time to let others in.
func (t *Tree) mendSome(u *upstream) {
	for u.hollow != 0 && !t.tired() {
		t.dropClaim(u.hollow)
	}
	for u.active != 0 && !t.tired() {
		t.mendStep(u)
	}
}

// setActive and setHollow note what is left over.
func (t *Tree) setActive(u *upstream, ref uint32) {
	was := u.unsettled()
	u.active = ref
	t.countMending(was, u)
}

func (t *Tree) setHollow(u *upstream, ref uint32) {
	was := u.unsettled()
	u.hollow = ref
	t.countMending(was, u)
}

func (t *Tree) countMending(was bool, u *upstream) {
	if is := u.unsettled(); is && !was {
		t.mending++
	} else if was && !is {
		t.mending--
	}
}

// begin puts a claim on the path, at its end.
func (t *Tree) begin(u *upstream, ref uint32, c *claim, state uint32) {
	c.state.Store(state)
	c.cursor.Store(c.child.Load())
	t.setActive(u, ref)
}

// mendStep does the next claim, or leaves the end of the path when it has no more.
func (t *Tree) mendStep(u *upstream) {
	ref := u.active
	c := t.claim(ref)
	next := c.cursor.Load()
	if next == 0 {
		t.finish(u, ref)
		return
	}
	d := t.claim(next)
	r := t.run(d.run.Load())
	i, was := t.holderOf(r, u.slot)
	state, n := c.state.Load(), 0
	if state == rising {
		n = whole(d.have.Load())
	}
	passes := n == r.len() || state == sinking && holderWhole(was) == r.len()
	if passes && d.child.Load() != 0 {
		if state == rising {
			t.putWhole(r, i, n)
		}
		t.begin(u, next, d, state)
		return
	}
	t.putWhole(r, i, n)
	c.cursor.Store(d.next.Load())
}

// putWhole sets the effective blocks of entry i of a run.
func (t *Tree) putWhole(r *run, i, n int) {
	e := t.holderAt(r, i).Load()
	if holderWhole(e) == n {
		return
	}
	t.open(r.head.Load())
	t.setHolder(r, i, e&^0xff00|uint64(n)<<8)
	t.shut(r.head.Load())
}

// finish takes the end off the path.
func (t *Tree) finish(u *upstream, ref uint32) {
	c := t.claim(ref)
	r := t.run(c.run.Load())
	state, parent := c.state.Load(), t.parentClaim(c)
	t.offPath(u, ref, c, parent)
	if state == sinking {
		n := 0
		if u.active == 0 && t.reachable(r, u.slot) {
			n = whole(c.have.Load())
		}
		i, _ := t.holderOf(r, u.slot)
		t.putWhole(r, i, n)
		if n == r.len() && c.child.Load() != 0 { // it was cut off from the hole meanwhile
			t.begin(u, ref, c, rising)
		}
	}
}

// offPath makes the path end before ref, and go on behind it.
func (t *Tree) offPath(u *upstream, ref uint32, c *claim, parent uint32) {
	c.state.Store(settled)
	next := uint32(0)
	if parent != 0 {
		if p := t.claim(parent); p.state.Load() != settled {
			next = parent
			if p.cursor.Load() == ref {
				p.cursor.Store(c.next.Load())
			}
		}
	}
	t.setActive(u, next)
}

// reachable tells whether an upstream is whole in the run before r.
func (t *Tree) reachable(r *run, slot int) bool {
	p := r.parent()
	if p == 0 {
		return true
	}
	_, e := t.holderOf(t.run(p), slot)
	return holderWhole(e) == t.run(p).len()
}

// passCursor makes the path go to the claim by where it went to ref, a claim of
// u that hangs on parent.
func (t *Tree) passCursor(parent, ref, by uint32) {
	if parent == 0 {
		return
	}
	if p := t.claim(parent); p.state.Load() != settled && p.cursor.Load() == ref {
		p.cursor.Store(by)
	}
}

// movedOnPath keeps the path when the claim ref, which hangs on parent, is moved.
func (t *Tree) movedOnPath(u *upstream, parent, ref, to uint32) {
	if u.hollow == ref {
		u.hollow = to
	}
	if u.active == 0 {
		return
	}
	if u.active == ref {
		u.active = to
	}
	t.passCursor(parent, ref, to)
}

// splitPath keeps the path when the claim ref is cut in two: part is the upper
// one, with k blocks, and hangs on parent.
func (t *Tree) splitPath(ref, part, parent uint32, k int) {
	c, p := t.claim(ref), t.claim(part)
	t.passCursor(parent, ref, part)
	state := c.state.Load()
	below := parent != 0 && t.claim(parent).state.Load() != settled
	// When all that was lost is in the lower part, that is where the path begins.
	if state != settled && (below || state == sinking && whole(p.have.Load()) < k) {
		p.state.Store(state)
		p.cursor.Store(ref)
	}
}

// onPath tells whether runs may not be joined because of claims on low, or those
// they hang on, on up.
func (t *Tree) onPath(up, low *run) bool {
	if t.mending == 0 {
		return false
	}
	for _, r := range []*run{up, low} {
		t.did(1 + r.holders())
		for i := range r.holders() {
			ref := holderClaim(t.holderAt(r, i).Load())
			if c := t.claim(ref); c.state.Load() != settled || t.ups[c.slot.Load()].hollow == ref {
				if len(t.unjoined) < cap(t.unjoined) {
					t.unjoined = append(t.unjoined, place{up.head.Load(), up.depth()})
				}
				return true
			}
		}
	}
	return false
}
