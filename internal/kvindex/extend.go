// SPDX-License-Identifier: Apache-2.0

package kvindex

// Extend extends the result of Match by a place inside the next text block, given
// by the hash of the text up to there, if that was linked. chain and tokens are
// Match's; ok reports whether there is more.
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
	r := l.record(ref)
	m := r.meta()
	first := m.first()
	if first > len(chain) || first > 0 && chain[first-1] != r.before() || m.tokens() < tokens {
		return chain, tokens, false
	}
	longer = chain[:first]
	for k := range m.count() {
		longer = append(longer, r.block(k))
	}
	if m&metaReferenced == 0 {
		r.setMeta(m | metaReferenced)
	}
	longer, more, _ = cutChain(s, longer, 0, m.tokens(), 0)
	return longer, more, true
}
