// SPDX-License-Identifier: Apache-2.0

package radixcache

// Beyond counts the blocks that up holds without a hole behind the last one of
// the chain, at most a given number of them. It ends where what up holds there
// parts in two. Without all of the chain it holds nothing behind it.
func (t *Tree) HeldBeyond(up Upstream, chain []uint64, most int) (blocks int) {
	t.lock()
	defer t.unlock()
	u := t.upstreamOf(up)
	if u == nil || len(chain) == 0 {
		return 0
	}
	ref, pos := t.claimAt(u, chain, len(chain)-1)
	for from := pos + 1; ref != 0 && blocks < most; from = 0 {
		c := t.claim(ref)
		r := t.run(c.run.Load())
		_, e := t.findHolder(r, u.slot)
		blocks += max(0, holderEffective(e)-from)
		ref = c.child.Load()
		if holderEffective(e) < r.blocks() || ref != 0 && t.claim(ref).next.Load() != 0 {
			break
		}
	}
	return min(blocks, most)
}
