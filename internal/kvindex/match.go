// SPDX-License-Identifier: Apache-2.0

package kvindex

// lanes is the number of text blocks that are looked up side by side: their cache
// misses overlap.
const lanes = 16

// Match appends to dst the block hashes of the tokens that the longest linked prefix
// of a text chain stands for, and returns the numbers of tokens and text blocks. There may be more tokens than the whole blocks in dst have. It allocates
// nothing beyond dst.
func (x *Index) Match(s Space, text []uint64, dst []uint64) (chain []uint64, tokens, textBlocks int) {
	if s.blockTokens == 0 {
		return dst, 0, 0
	}
	l := &x.log
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.records == 0 {
		return dst, 0, 0
	}
	base := len(dst)
	var keys, slots [lanes]uint64
	var records [lanes]record
	for len(text) > 0 {
		n := min(len(text), lanes)
		for i, h := range text[:n] {
			keys[i] = s.key(h)
			tag := tagOf(keys[i])
			slots[i] = l.table.page(tag).slots[tag&pageMask].Load()
		}
		for i := range n {
			records[i] = nil
			if slots[i]>>32 == tagOf(keys[i]) && slots[i] != 0 {
				records[i] = l.record(uint32(slots[i]))
				slots[i] = uint64(records[i].meta()) // fetches it, all misses at once
			}
		}
		for i := range n {
			r := records[i]
			if r == nil || r.key() != keys[i] {
				ref := l.find(keys[i])
				if ref == 0 {
					return cutChain(s, dst, base, tokens, textBlocks)
				}
				r = l.record(ref)
			}
			m := r.meta()
			first := base + m.first()
			if first > len(dst) || first > base && dst[first-1] != r.before() {
				return cutChain(s, dst, base, tokens, textBlocks)
			}
			dst = dst[:first]
			for k := range r[headWords:m.words()] {
				dst = append(dst, r.block(k))
			}
			if m&metaReferenced == 0 {
				r.setMeta(m | metaReferenced)
			}
			tokens = m.tokens()
			textBlocks++
		}
		text = text[n:]
	}
	return cutChain(s, dst, base, tokens, textBlocks)
}

// cutChain cuts the chain to the blocks that the tokens fill.
func cutChain(s Space, dst []uint64, base, tokens, textBlocks int) ([]uint64, int, int) {
	block := int(s.blockTokens)
	have := len(dst) - base
	tokens = min(tokens, have*block+block-1)
	return dst[:base+min(have, tokens/block)], tokens, textBlocks
}
