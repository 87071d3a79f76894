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
		ref, block := t.findClaim(u, chain, keep)
		if ref == 0 || t.cutDescendants(ref, block) {
			t.finishPending(u)
			return
		}
		t.yield()
	}
}

// DropBlock records that up no longer holds one block, chain[i]. Blocks that up
// holds behind it count no more until the block is back by Insert or Stored.
func (t *Tree) DropBlock(up Upstream, chain []uint64, i int) {
	t.lock()
	defer t.unlock()
	t.startOperation()
	if u := t.upstreamOf(up); u != nil && i >= 0 && i < len(chain) && t.finishPending(u) {
		if ref, block := t.findClaim(u, chain, i); ref != 0 {
			t.removeBlocks(ref, 1<<block)
			t.finishPending(u)
		}
	}
}

// findClaim returns u's claim on the run that has chain[i], and the place of that
// block in the run.
func (t *Tree) findClaim(u *upstream, chain []uint64, i int) (ref uint32, block int) {
	for pos := i / MaxRun * MaxRun; ; {
		run := t.findRun(chain[pos], pos)
		if run == 0 {
			return 0, 0
		}
		r := t.run(run)
		n := t.matchLength(r, chain[pos:])
		if pos+n > i {
			_, h := t.findHolder(r, u.slot)
			return h.claim(), i - pos
		}
		if n < r.blocks() {
			return 0, 0
		}
		pos += n
	}
}

// cutDescendants drops some of the claims below a claim, leaves first. When none
// is left it takes the blocks from k on off the claim itself and returns true.
func (t *Tree) cutDescendants(top uint32, k int) bool {
	at := top
	for first := true; first || !t.overBudget(); first = false {
		for c := t.claim(at).child.Load(); c != 0; c = t.claim(at).child.Load() {
			t.addWork(1)
			at = c
		}
		if at == top {
			t.removeBlocks(top, ^uint64(0)<<k)
			return true
		}
		// Dropping the leaf may drop or change its run. It drops its parent claims
		// only as far as they are empty and have no other child claim.
		parent := t.parentClaim(t.claim(at))
		for parent != top && t.dropsWithChild(parent) {
			parent = t.parentClaim(t.claim(parent))
		}
		dropsTop := parent == top && t.dropsWithChild(top)
		t.dropClaim(at)
		if dropsTop {
			return true
		}
		at = parent
	}
	return false
}

// dropsWithChild tells whether a claim is empty and has exactly one child claim.
func (t *Tree) dropsWithChild(ref uint32) bool {
	c := t.claim(ref)
	if c.present.Load() != 0 {
		return false
	}
	child := c.child.Load()
	return child != 0 && t.claim(child).next.Load() == 0
}

// removeBlocks takes blocks off a claim.
func (t *Tree) removeBlocks(ref uint32, set uint64) {
	c := t.claim(ref)
	present := c.present.Load()
	if present&set == 0 {
		return
	}
	t.forgetKeys(ref, set)
	if present &^= set; present == 0 && c.child.Load() == 0 {
		t.dropClaim(ref)
		return
	}
	run := c.run.Load()
	t.setPresent(ref, present)
	t.prune(run)
}
