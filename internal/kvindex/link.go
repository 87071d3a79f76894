// SPDX-License-Identifier: Apache-2.0

package kvindex

// Anchor says how many tokens of a prompt there are up to a place in its text, such
// that they are the same for every prompt with the same text up to there.
type Anchor struct {
	Tokens int
	// Exact: it is known, not estimated.
	Exact bool
}

// farOff is how many times fewer tokens two prompts have in common than their
// common text stands for when that can be no error of an estimate: characters of
// one script take up to some four times the tokens of another's.
const farOff = 8

// Link enters a tokenised prompt: its text chain, an anchor for each text block,
// and its tokens, but for those from the first placeholder of an image or sound on.
// What lies behind the last anchor or the last token is not entered.
//
// Where the tokens differ from those of a prompt with the same text, and one of the
// anchors there is an estimate, the estimate was wrong: it becomes what both have in
// common. When both are exact, or are off by more than any estimate can be, one text
// has two tokenisations. Then nothing is entered, the epoch of the space's model has
// ended, and Link returns true.
func (x *Index) Link(s Space, text []uint64, anchors []Anchor, tokens []uint32) (contradicted bool) {
	if s.block == 0 || s.epoch != x.epochs[s.slot].Load() {
		return false
	}
	text = text[:min(len(text), len(anchors))]
	p := linking{l: &x.links, s: s, text: text, own: x.Chain(s, tokens, make([]uint64, 0, len(tokens)/int(s.block)))}
	p.plan(anchors, min(len(tokens), maxTokens))
	p.chances = stepChances * (4 + len(p.anchors)/16)
	p.l.write.Lock()
	defer p.l.write.Unlock()
	if !p.compare() {
		x.endEpoch(s.slot)
		return true
	}
	for p.at < len(p.anchors) && p.step() {
	}
	return false
}

// linking is one Link under way.
type linking struct {
	l       *links
	s       Space
	text    []uint64
	anchors []Anchor // as far as there are tokens; they never fall
	own     []uint64
	limit   int    // tokens
	at      int    // text blocks that are entered
	kept    int    // blocks that are found so, of whichever prompt
	last    uint64 // the last one of them
	chances int    // records of others that are still written again for it
	whole   int    // blocks of own that are found by following the text up to at

	common int // blocks, when parted
	shared int // text blocks that were linked before
	parted bool
	capped int // tokens that the anchor of the last shared text block is cut to
}

// plan takes over the anchors up to the first at the end of the tokens.
func (p *linking) plan(anchors []Anchor, limit int) {
	p.limit = limit
	p.anchors = make([]Anchor, 0, len(p.text))
	for _, a := range anchors[:len(p.text)] {
		a.Tokens = max(a.Tokens, 0)
		end := a.Tokens >= limit
		a.Tokens = min(a.Tokens, limit)
		p.anchors = append(p.anchors, a)
		if end {
			break
		}
	}
	for i := len(p.anchors) - 2; i >= 0; i-- {
		if next := p.anchors[i+1].Tokens; p.anchors[i].Tokens > next {
			p.anchors[i] = Anchor{Tokens: next}
		}
	}
}

// compare finds out how far the tokens are those that were linked before, and
// returns false when they contradict them.
func (p *linking) compare() bool {
	least := -1 // tokens that both have up to the end of the last shared text block
	for i := range p.anchors {
		ref := p.l.find(p.s.key(p.text[i]))
		if ref == 0 {
			continue
		}
		w := p.l.words(ref)
		m := meta(w[1].Load())
		p.shared = i + 1
		least = min(m.tokens(), p.anchors[i].Tokens)
		same, differ := p.same(w, m)
		if over := m.tokens() > p.limit; !over && (!differ || same >= p.blocks(m.tokens())) {
			continue
		}
		if differ && m.exact() && p.anchors[i].Exact && same < p.blocks(least) {
			return false
		}
		if !differ {
			same = len(p.own)
		}
		if !p.parted || same < p.common {
			p.parted, p.common = true, same
		}
	}
	if !p.parted {
		return true
	}
	if n := p.blocks(least); n >= 2*farOff && p.common*farOff < n {
		return false
	}
	p.capped = p.common * int(p.s.block)
	return true
}

func (p *linking) blocks(tokens int) int { return tokens / int(p.s.block) }

// same returns how many blocks of the prompt are those that a record stands for:
// up to its end, or up to where they differ.
func (p *linking) same(w []uint64Word, m meta) (n int, differ bool) {
	n = m.first()
	if n > len(p.own) {
		return len(p.own), false
	}
	if n > 0 && p.own[n-1] != w[2].Load() {
		return n - 1, true
	}
	for k := range m.count() {
		if n == len(p.own) {
			return n, false
		}
		if p.own[n] != w[headWords+k].Load() {
			return n, true
		}
		n++
	}
	return n, false
}

// cut is what an anchor of text block i may be at most, where the prompt has parted
// from one linked before.
func (p *linking) cut(i int, a Anchor) Anchor {
	switch {
	case !p.parted || i >= p.shared || a.Exact && a.Tokens <= p.capped:
		return a
	case i == p.shared-1:
		return Anchor{Tokens: min(a.Tokens, p.capped), Exact: a.Tokens >= p.capped}
	}
	return Anchor{Tokens: min(a.Tokens, p.capped*(i+1)/p.shared)}
}

// step enters some of the text blocks.
func (p *linking) step() bool {
	p.l.prepare()
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	words, chances := 0, stepChances
	for n := 0; n < stepRecords && words < stepWords && p.at < len(p.anchors); n++ {
		if !p.l.reclaim(&chances) && p.chances > 0 {
			break // others first
		}
		k, ok := p.enter(p.at)
		if !ok {
			return false
		}
		words += k
		p.at++
	}
	p.chances -= stepChances - chances
	return true
}

// enter enters one text block, and returns how many words it has written.
func (p *linking) enter(i int) (words int, ok bool) {
	key := p.s.key(p.text[i])
	a := p.cut(i, p.anchors[i])
	if ref := p.l.find(key); ref != 0 {
		w := p.l.words(ref)
		m := meta(w[1].Load())
		if n := m.first(); n <= p.whole && (n == 0 || p.own[n-1] == w[2].Load()) {
			same, _ := p.same(w, m)
			had := p.cut(i, Anchor{m.tokens(), m.exact()})
			switch {
			case had.Exact && a.Exact:
				a.Tokens = min(a.Tokens, had.Tokens)
			case had.Exact || !a.Exact:
				a = had
			}
			if p.blocks(a.Tokens) <= same {
				w[1].Store(uint64(m.anchored(a.Tokens, a.Exact) | metaRecent))
				p.whole = same
				p.keep(w, m)
				return 0, true
			}
		} else if had := p.cut(i, Anchor{m.tokens(), m.exact()}); n > p.whole && n == p.kept && w[2].Load() == p.last && p.blocks(had.Tokens) <= p.whole {
			// Behind where they part it goes on as the other prompt does, which
			// can still be followed; this one goes on in a text block of its own.
			w[1].Store(uint64(m.anchored(had.Tokens, had.Exact) | metaRecent))
			p.keep(w, m)
			return 0, true
		}
	}
	end := max(p.whole, min(p.blocks(a.Tokens), len(p.own)))
	first := p.whole
	if end-first > maxBlocks {
		return 0, false
	}
	before := uint64(0)
	if first > 0 {
		before = p.own[first-1]
	}
	m := newMeta(a.Tokens, first, end-first, a.Exact)
	if !p.l.enter(key, m, before, p.own[first:end]) {
		return 0, false
	}
	p.whole, p.kept, p.last = end, end, 0
	if end > 0 {
		p.last = p.own[end-1]
	}
	return m.words(), true
}

// keep notes that a record stays as it is, and so where those behind it may go on.
func (p *linking) keep(w []uint64Word, m meta) {
	p.kept, p.last = m.first()+m.count(), w[m.words()-1].Load()
}
