// SPDX-License-Identifier: Apache-2.0

package kvindex

// Extend goes on where Follow has ended: with a place in the text between two
// blocks that was linked behind them, known by a hash. chain and tokens are what
// Follow returned, and ok reports whether there is more.
func (x *Index) Extend(s Space, place uint64, chain []uint64, tokens int) (longer []uint64, more int, ok bool) {
	if s.blockTokens == 0 {
		return chain, tokens, false
	}
	l := &x.log
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.records == 0 {
		return chain, tokens, false
	}
	ref := l.find(s.key(place))
	if ref == 0 {
		return chain, tokens, false
	}
	w := l.words(ref)
	m := recordMeta(w[1].Load())
	first := m.first()
	if first > len(chain) || first > 0 && chain[first-1] != w[2].Load() || m.tokens() < tokens {
		return chain, tokens, false
	}
	longer = chain[:first]
	for k := range w[headWords:m.words()] {
		longer = append(longer, w[headWords+k].Load())
	}
	if m&metaReferenced == 0 {
		w[1].Store(uint64(m | metaReferenced))
	}
	longer, more, _ = cutChain(s, longer, 0, m.tokens(), 0)
	return longer, more, true
}
