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
const maxEstimateError = 8

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
	if s.blockTokens == 0 || s.epoch != x.epochs[s.slot].Load() {
		return false
	}
	text = text[:min(len(text), len(anchors))]
	p := linkJob{log: &x.log, s: s, text: text, chain: x.Chain(s, tokens, make([]uint64, 0, len(tokens)/int(s.blockTokens)))}
	p.setAnchors(anchors, min(len(tokens), maxTokens))
	p.rewrites = stepRewrites * (4 + len(p.anchors)/16)
	p.log.write.Lock()
	defer p.log.write.Unlock()
	if !p.compare() {
		x.endEpoch(s.slot)
		return true
	}
	for p.next < len(p.anchors) && p.step() {
	}
	return false
}

// linking is one Link under way.
type linkJob struct {
	log           *linkLog
	s             Space
	text          []uint64
	anchors       []Anchor // as far as there are tokens; they never fall
	chain         []uint64
	limit         int    // tokens
	next          int    // text blocks that are entered
	keptBlocks    int    // blocks that are found so, of whichever prompt
	keptLast      uint64 // the last one of them
	rewrites      int    // records of others that are still written again for it
	matchedBlocks int    // blocks of own that are found by following the text up to at

	commonBlocks int // blocks, when parted
	sharedText   int // text blocks that were linked before
	diverged     bool
	divergedAt   int // tokens that the anchor of the last shared text block is cut to
}

// plan takes over the anchors up to the first at the end of the tokens.
func (p *linkJob) setAnchors(anchors []Anchor, limit int) {
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
func (p *linkJob) compare() bool {
	least := -1 // tokens that both have up to the end of the last shared text block
	for i := range p.anchors {
		ref := p.log.find(p.s.key(p.text[i]))
		if ref == 0 {
			continue
		}
		w := p.log.words(ref)
		m := recordMeta(w[1].Load())
		p.sharedText = i + 1
		least = min(m.tokens(), p.anchors[i].Tokens)
		same, differ := p.sameBlocks(w, m)
		if over := m.tokens() > p.limit; !over && (!differ || same >= p.blocks(m.tokens())) {
			continue
		}
		if differ && m.exact() && p.anchors[i].Exact && same < p.blocks(least) {
			return false
		}
		if !differ {
			same = len(p.chain)
		}
		if !p.diverged || same < p.commonBlocks {
			p.diverged, p.commonBlocks = true, same
		}
	}
	if !p.diverged {
		return true
	}
	if n := p.blocks(least); n >= 2*maxEstimateError && p.commonBlocks*maxEstimateError < n {
		return false
	}
	p.divergedAt = p.commonBlocks * int(p.s.blockTokens)
	return true
}

func (p *linkJob) blocks(tokens int) int { return tokens / int(p.s.blockTokens) }

// same returns how many blocks of the prompt are those that a record stands for:
// up to its end, or up to where they differ.
func (p *linkJob) sameBlocks(w []uint64Word, m recordMeta) (n int, differ bool) {
	n = m.first()
	if n > len(p.chain) {
		return len(p.chain), false
	}
	if n > 0 && p.chain[n-1] != w[2].Load() {
		return n - 1, true
	}
	for k := range m.count() {
		if n == len(p.chain) {
			return n, false
		}
		if p.chain[n] != w[headWords+k].Load() {
			return n, true
		}
		n++
	}
	return n, false
}

// cut is what an anchor of text block i may be at most, where the prompt has parted
// from one linked before.
func (p *linkJob) capAnchor(i int, a Anchor) Anchor {
	switch {
	case !p.diverged || i >= p.sharedText || a.Exact && a.Tokens <= p.divergedAt:
		return a
	case i == p.sharedText-1:
		return Anchor{Tokens: min(a.Tokens, p.divergedAt), Exact: a.Tokens >= p.divergedAt}
	}
	return Anchor{Tokens: min(a.Tokens, p.divergedAt*(i+1)/p.sharedText)}
}

// step enters some of the text blocks.
func (p *linkJob) step() bool {
	p.log.prepare()
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	words, chances := 0, stepRewrites
	for n := 0; n < stepRecords && words < stepWords && p.next < len(p.anchors); n++ {
		if !p.log.reclaim(&chances) && p.rewrites > 0 {
			break // others first
		}
		k, ok := p.enter(p.next)
		if !ok {
			return false
		}
		words += k
		p.next++
	}
	p.rewrites -= stepRewrites - chances
	return true
}

// enter enters one text block, and returns how many words it has written.
func (p *linkJob) enter(i int) (words int, ok bool) {
	key := p.s.key(p.text[i])
	a := p.capAnchor(i, p.anchors[i])
	if ref := p.log.find(key); ref != 0 {
		w := p.log.words(ref)
		m := recordMeta(w[1].Load())
		if n := m.first(); n <= p.matchedBlocks && (n == 0 || p.chain[n-1] == w[2].Load()) {
			same, _ := p.sameBlocks(w, m)
			had := p.capAnchor(i, Anchor{m.tokens(), m.exact()})
			switch {
			case had.Exact && a.Exact:
				a.Tokens = min(a.Tokens, had.Tokens)
			case had.Exact || !a.Exact:
				a = had
			}
			if p.blocks(a.Tokens) <= same {
				w[1].Store(uint64(m.anchored(a.Tokens, a.Exact) | metaReferenced))
				p.matchedBlocks = same
				p.keep(w, m)
				return 0, true
			}
		} else if had := p.capAnchor(i, Anchor{m.tokens(), m.exact()}); n > p.matchedBlocks && n == p.keptBlocks && w[2].Load() == p.keptLast && p.blocks(had.Tokens) <= p.matchedBlocks {
			// Behind where they part it goes on as the other prompt does, which
			// can still be followed; this one goes on in a text block of its own.
			w[1].Store(uint64(m.anchored(had.Tokens, had.Exact) | metaReferenced))
			p.keep(w, m)
			return 0, true
		}
	}
	end := max(p.matchedBlocks, min(p.blocks(a.Tokens), len(p.chain)))
	first := p.matchedBlocks
	if end-first > maxBlocks {
		return 0, false
	}
	before := uint64(0)
	if first > 0 {
		before = p.chain[first-1]
	}
	m := newRecordMeta(a.Tokens, first, end-first, a.Exact)
	if !p.log.enter(key, m, before, p.chain[first:end]) {
		return 0, false
	}
	p.matchedBlocks, p.keptBlocks, p.keptLast = end, end, 0
	if end > 0 {
		p.keptLast = p.chain[end-1]
	}
	return m.words(), true
}

// keep notes that a record stays as it is, and so where those behind it may go on.
func (p *linkJob) keep(w []uint64Word, m recordMeta) {
	p.keptBlocks, p.keptLast = m.first()+m.count(), w[m.words()-1].Load()
}
