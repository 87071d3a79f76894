// SPDX-License-Identifier: Apache-2.0

package kvindex

// Anchor is the number of a prompt's tokens up to a place in its text that are the
// same for every prompt with the same text up to there.
type Anchor struct {
	Tokens int
	// Exact: it is known, not estimated.
	Exact bool
}

// maxEstimateError bounds the error of an estimate: how many times fewer tokens two
// prompts can have in common than estimated for their common text. Characters of one
// script take up to some four times the tokens of another's.
const maxEstimateError = 8

// Link enters a tokenized prompt: its text chain, an anchor for each text block, and
// its tokens up to the first placeholder of an image or sound. Text after the last
// anchor or the last token is not entered.
//
// Where the tokens differ from those of a prompt with the same text, and one of the
// anchors there is an estimate, the estimate was wrong: it becomes the tokens that
// both have in common. When both are exact, or differ by more than any estimate can,
// one text has two tokenizations. Then nothing is entered, the epoch of the space's
// model ends, and Link returns true.
func (x *Index) Link(s Space, text []uint64, anchors []Anchor, tokens []uint32) (contradicted bool) {
	if s.blockTokens == 0 || s.epoch != x.epochs[s.slot].Load() {
		return false
	}
	text = text[:min(len(text), len(anchors))]
	j := linkJob{log: &x.log, s: s, text: text, chain: x.Chain(s, tokens, make([]uint64, 0, len(tokens)/int(s.blockTokens)))}
	j.setAnchors(anchors, min(len(tokens), maxTokens))
	j.rewrites = stepRewrites * (4 + len(j.anchors)/16)
	j.log.write.Lock()
	defer j.log.write.Unlock()
	if !j.compare() {
		x.endEpoch(s.slot)
		return true
	}
	for j.next < len(j.anchors) && j.step() {
	}
	return false
}

// linkJob is a Link under way.
type linkJob struct {
	log           *linkLog
	s             Space
	text          []uint64
	anchors       []Anchor // up to the end of the tokens; ascending
	chain         []uint64
	limit         int    // number of tokens
	next          int    // index of the next text block to enter
	keptBlocks    int    // token blocks that a Match finds up to next, of whichever prompt
	keptLast      uint64 // hash of the last of them
	rewrites      int    // how many records of others may still be rewritten for it
	matchedBlocks int    // blocks of chain that a Match finds up to next

	commonBlocks int // blocks in common, when diverged
	sharedText   int // text blocks that were linked before
	diverged     bool
	divergedAt   int // tokens that the anchor of the last shared text block is capped to
}

// setAnchors takes the anchors up to the first at the end of the tokens.
func (j *linkJob) setAnchors(anchors []Anchor, limit int) {
	j.limit = limit
	j.anchors = make([]Anchor, 0, len(j.text))
	for _, a := range anchors[:len(j.text)] {
		a.Tokens = max(a.Tokens, 0)
		end := a.Tokens >= limit
		a.Tokens = min(a.Tokens, limit)
		j.anchors = append(j.anchors, a)
		if end {
			break
		}
	}
	for i := len(j.anchors) - 2; i >= 0; i-- {
		if next := j.anchors[i+1].Tokens; j.anchors[i].Tokens > next {
			j.anchors[i] = Anchor{Tokens: next}
		}
	}
}

// compare compares the tokens with those that were linked before, and returns false
// when they contradict each other.
func (j *linkJob) compare() bool {
	least := -1 // tokens that both have up to the end of the last shared text block
	for i := range j.anchors {
		ref := j.log.find(j.s.key(j.text[i]))
		if ref == 0 {
			continue
		}
		r := j.log.record(ref)
		m := r.meta()
		j.sharedText = i + 1
		least = min(m.tokens(), j.anchors[i].Tokens)
		same, differ := j.sameBlocks(r)
		if over := m.tokens() > j.limit; !over && (!differ || same >= j.blocks(m.tokens())) {
			continue
		}
		if differ && m.exact() && j.anchors[i].Exact && same < j.blocks(least) {
			return false
		}
		if !differ {
			same = len(j.chain)
		}
		if !j.diverged || same < j.commonBlocks {
			j.diverged, j.commonBlocks = true, same
		}
	}
	if !j.diverged {
		return true
	}
	if n := j.blocks(least); n >= 2*maxEstimateError && j.commonBlocks*maxEstimateError < n {
		return false
	}
	j.divergedAt = j.commonBlocks * int(j.s.blockTokens)
	return true
}

func (j *linkJob) blocks(tokens int) int { return tokens / int(j.s.blockTokens) }

// sameBlocks returns the number of the prompt's blocks that equal those of a record: up to
// its end, or up to where they differ.
func (j *linkJob) sameBlocks(r record) (n int, differ bool) {
	m := r.meta()
	n = m.first()
	if n > len(j.chain) {
		return len(j.chain), false
	}
	if n > 0 && j.chain[n-1] != r.before() {
		return n - 1, true
	}
	for k := range m.count() {
		if n == len(j.chain) {
			return n, false
		}
		if j.chain[n] != r.block(k) {
			return n, true
		}
		n++
	}
	return n, false
}

// capAnchor caps the anchor of text block i where the prompt has diverged from one
// linked before.
func (j *linkJob) capAnchor(i int, a Anchor) Anchor {
	switch {
	case !j.diverged || i >= j.sharedText || a.Exact && a.Tokens <= j.divergedAt:
		return a
	case i == j.sharedText-1:
		return Anchor{Tokens: min(a.Tokens, j.divergedAt), Exact: a.Tokens >= j.divergedAt}
	}
	return Anchor{Tokens: min(a.Tokens, j.divergedAt*(i+1)/j.sharedText)}
}

// step enters some of the text blocks.
func (j *linkJob) step() bool {
	j.log.prepare()
	j.log.mu.Lock()
	defer j.log.mu.Unlock()
	words, rewrites := 0, stepRewrites
	for n := 0; n < stepRecords && words < stepWords && j.next < len(j.anchors); n++ {
		if !j.log.reclaim(&rewrites) && j.rewrites > 0 {
			break // let others have the lock
		}
		k, ok := j.enter(j.next)
		if !ok {
			return false
		}
		words += k
		j.next++
	}
	j.rewrites -= stepRewrites - rewrites
	return true
}

// enter enters one text block, and returns the number of words written.
func (j *linkJob) enter(i int) (words int, ok bool) {
	key := j.s.key(j.text[i])
	a := j.capAnchor(i, j.anchors[i])
	if ref := j.log.find(key); ref != 0 {
		kept := false
		if a, kept = j.reuse(i, a, j.log.record(ref)); kept {
			return 0, true
		}
	}
	end := max(j.matchedBlocks, min(j.blocks(a.Tokens), len(j.chain)))
	first := j.matchedBlocks
	if end-first > maxBlocks {
		return 0, false
	}
	before := uint64(0)
	if first > 0 {
		before = j.chain[first-1]
	}
	m := newRecordMeta(a.Tokens, first, end-first, a.Exact)
	if !j.log.enter(key, m, before, j.chain[first:end]) {
		return 0, false
	}
	j.matchedBlocks, j.keptBlocks, j.keptLast = end, end, 0
	if end > 0 {
		j.keptLast = j.chain[end-1]
	}
	return m.words(), true
}

// reuse keeps the record that text block i has, if it can. It returns the anchor
// for the text block, which a known one corrects.
func (j *linkJob) reuse(i int, a Anchor, r record) (_ Anchor, kept bool) {
	m := r.meta()
	first := m.first()
	had := j.capAnchor(i, Anchor{m.tokens(), m.exact()})
	switch {
	case first <= j.matchedBlocks && (first == 0 || j.chain[first-1] == r.before()):
		same, _ := j.sameBlocks(r)
		switch {
		case had.Exact && a.Exact:
			a.Tokens = min(a.Tokens, had.Tokens)
		case had.Exact || !a.Exact:
			a = had
		}
		if j.blocks(a.Tokens) > same {
			return a, false
		}
		j.matchedBlocks = same
		j.keep(r, a)
		return a, true
	case first > j.matchedBlocks && first == j.keptBlocks && r.before() == j.keptLast && j.blocks(had.Tokens) <= j.matchedBlocks:
		// After the divergence it goes on as the other prompt does, which can
		// still be matched; this one goes on in a text block of its own.
		j.keep(r, had)
		return a, true
	}
	return a, false
}

// keep leaves a record but for its anchor, and notes where the ones after it may go
// on.
func (j *linkJob) keep(r record, a Anchor) {
	m := r.meta()
	r.setMeta(m.anchored(a.Tokens, a.Exact) | metaReferenced)
	j.keptBlocks, j.keptLast = m.first()+m.count(), r.last()
}
