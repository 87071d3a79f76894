// SPDX-License-Identifier: Apache-2.0

package kvindex

// lanes is how many text blocks are looked for side by side: their cache misses
// overlap.
const lanes = 16

// Follow appends to dst the own hashes of the tokens that the longest linked prefix
// of a text chain stands for, and returns how many tokens that are and how many of
// the text blocks. The tokens may be some more than those in the hashes, which are
// of whole blocks. It allocates nothing beyond dst.
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
	var records [lanes][]uint64Word
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
				records[i] = l.words(uint32(slots[i]))
				slots[i] = records[i][1].Load() // fetches it, all misses at once
			}
		}
		for i := range n {
			w := records[i]
			if w == nil || w[0].Load() != keys[i] {
				ref := l.find(keys[i])
				if ref == 0 {
					return cutChain(s, dst, base, tokens, textBlocks)
				}
				w = l.words(ref)
			}
			m := recordMeta(w[1].Load())
			first := base + m.first()
			if first > len(dst) || first > base && dst[first-1] != w[2].Load() {
				return cutChain(s, dst, base, tokens, textBlocks)
			}
			dst = dst[:first]
			for k := range w[headWords:m.words()] {
				dst = append(dst, w[headWords+k].Load())
			}
			if m&metaReferenced == 0 {
				w[1].Store(uint64(m | metaReferenced))
			}
			tokens = m.tokens()
			textBlocks++
		}
		text = text[n:]
	}
	return cutChain(s, dst, base, tokens, textBlocks)
}

// cutChain leaves those blocks in the chain that the tokens fill.
func cutChain(s Space, dst []uint64, base, tokens, textBlocks int) ([]uint64, int, int) {
	block := int(s.blockTokens)
	have := len(dst) - base
	tokens = min(tokens, have*block+block-1)
	return dst[:base+min(have, tokens/block)], tokens, textBlocks
}
