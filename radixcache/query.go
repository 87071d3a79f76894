// SPDX-License-Identifier: Apache-2.0

package radixcache

// HeldBeyond counts the blocks that up holds without a hole behind the last one of
// the chain, up to most. It stops where up holds more than one continuation.
// Without all of the chain it is 0.
func (t *Tree) HeldBeyond(up Upstream, chain []uint64, most int) (blocks int) {
	t.lock()
	defer t.unlock()
	u := t.upstreamOf(up)
	if u == nil || len(chain) == 0 {
		return 0
	}
	ref, block := t.findClaim(u, chain, len(chain)-1)
	for from := block + 1; ref != 0 && blocks < most; from = 0 {
		c := t.claim(ref)
		r := t.run(c.run.Load())
		_, h := t.findHolder(r, u.slot)
		blocks += max(0, h.effective()-from)
		ref = c.child.Load()
		if h.effective() < r.blocks() || ref != 0 && t.claim(ref).next.Load() != 0 {
			break
		}
	}
	return min(blocks, most)
}

// BlocksByTier counts the blocks of the chain that up holds without a hole by the
// fastest tier each is in. Blocks that no event reported count as on the GPU.
func (t *Tree) BlocksByTier(up Upstream, chain []uint64) (blocks [NumTiers]int32) {
	t.lock()
	defer t.unlock()
	for pos := 0; pos < len(chain); {
		u := t.upstreamOf(up)
		if u == nil {
			return blocks
		}
		ref := t.findRun(chain[pos], pos)
		if ref == 0 {
			return blocks
		}
		r := t.run(ref)
		n := t.matchLength(r, chain[pos:])
		_, h := t.findHolder(r, u.slot)
		for i := range min(n, h.effective()) {
			blocks[t.copiesOf(t.claim(h.claim()), i).fastest()]++
		}
		if h.effective() < r.blocks() || n < r.blocks() {
			return blocks
		}
		if pos += n; t.overBudget() {
			t.yield()
		}
	}
	return blocks
}

// fastest is the fastest tier with a copy, GPU when there is none.
func (c copies) fastest() Tier {
	for tier := range NumTiers {
		if c.in(tier) > 0 {
			return tier
		}
	}
	return GPU
}
