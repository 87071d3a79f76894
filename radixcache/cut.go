// SPDX-License-Identifier: Apache-2.0

package radixcache

// Cut records that up no longer holds chain[keep:], nor anything behind
// chain[keep]. With keep at the end of the chain or beyond it, there is nothing
// to cut. It works in small steps, from the leaves, as Forget does.
func (t *Tree) Cut(up Upstream, chain []uint64, keep int) {
	keep = max(keep, 0)
	if keep >= len(chain) {
		return
	}
	t.lock()
	defer t.unlock()
	t.startOperation()
	for {
		u := t.upstreamOf(up)
		if u == nil || !t.finishPending(u) {
			return
		}
		ref, k := t.claimAt(u, chain, keep)
		if ref == 0 || t.cutDescendants(ref, k) {
			t.finishPending(u)
			return
		}
		t.yield()
	}
}

// claimAt returns u's claim on the run that has chain[i], and the place of that
// block in the run.
func (t *Tree) claimAt(u *upstream, chain []uint64, i int) (ref uint32, k int) {
	for pos := i / MaxRun * MaxRun; ; {
		run := t.findRun(chain[pos], pos)
		if run == 0 {
			return 0, 0
		}
		r := t.run(run)
		n := t.matchLength(r, chain[pos:])
		if pos+n > i {
			_, e := t.findHolder(r, u.slot)
			return holderClaim(e), i - pos
		}
		if n < r.blocks() {
			return 0, 0
		}
		pos += n
	}
}

// cutBehind drops some of what hangs on a claim, leaves first. When nothing is
// left it takes the blocks from k on off the claim itself and returns true.
func (t *Tree) cutDescendants(top uint32, k int) bool {
	at := top
	for first := true; first || !t.overBudget(); first = false {
		for c := t.claim(at).child.Load(); c != 0; c = t.claim(at).child.Load() {
			t.addWork(1)
			at = c
		}
		if at == top {
			t.cutClaim(top, k)
			return true
		}
		// Dropping the leaf may drop or change its run, but not the claim it
		// hangs on, unless that was only there for the leaf.
		parent := t.parentClaim(t.claim(at))
		for parent != top && t.claim(parent).present.Load() == 0 && t.hasOneChild(parent) {
			parent = t.parentClaim(t.claim(parent))
		}
		if parent == top && t.claim(top).present.Load() == 0 && t.hasOneChild(top) {
			t.dropClaim(at)
			return true
		}
		t.dropClaim(at)
		at = parent
	}
	return false
}

// lonely tells whether a claim has exactly one claim hanging on it.
func (t *Tree) hasOneChild(ref uint32) bool {
	c := t.claim(ref).child.Load()
	return c != 0 && t.claim(c).next.Load() == 0
}

// cutClaim takes the blocks from k on off a claim that nothing hangs on.
func (t *Tree) cutClaim(ref uint32, k int) {
	t.removeBlocks(ref, ^uint64(0)<<k)
}
