// SPDX-License-Identifier: Apache-2.0

package kvindex

import (
	"slices"
	"sort"

	"github.com/bauxite/caddy-kvaware/internal/sensitive"
)

// Prompt is what a prompt's anchors are made of.
type TokenizedPrompt struct {
	// Render streams the rendition that the text chain is of, chunk by chunk.
	Render func(yield func(message int32, chunk []byte) bool)
	// BlockBytes is the size of a text block, Blocks how many the chain has, and
	// CoveredBytes how much of the rendition they stand for: the last one may be
	// shorter.
	BlockBytes, Blocks, CoveredBytes int
	// Ends is where messages end in the rendition, in bytes, first message first.
	MessageEnds []int
	// BlockTokens is the engine's block size: what an estimate is less.
	BlockTokens int
	// Tokens is how many tokens the prompt has, media and all.
	Tokens int
	// Text returns what a token stands for, as bytes of the prompt. It is nil when
	// that is not known.
	Text func(token int) []byte
}

const (
	// searchBack is how far in front of the end of a text block a place is looked
	// for at which tokens end whatever follows.
	searchBack = 256
	// searchGap is how much of the rendition there may be behind the end of a text
	// of which the end of a text block is still taken for exact.
	searchGap = 64
)

// AlignTokens returns an anchor for each text block, and one for each end of a
// message: what follows there is another message, whatever it says.
//
// Where the texts of the tokens are known they are aligned with the texts in the
// rendition: what the template puts between these is passed over. An anchor is exact
// at the end of a text, and inside of one where a word or line starts that is in the
// text block as far as its first character: tokenizers do not look further, so the
// tokens up to there are the same however the text goes on. The count is of tokens
// that end at or before the last such place.
//
// Elsewhere, where texts are not known or cannot be found, it is in proportion
// between the nearest places that are, less a block of the engine's.
//
// The time is linear in the length of prompt and tokens; memory for a copy of both
// texts is taken, and wiped in the end.
func AlignTokens(p TokenizedPrompt) (anchors, ends []Anchor) {
	r := alignment{p: p}
	defer r.wipe()
	r.build()
	anchors = make([]Anchor, 0, p.Blocks)
	for i := range p.Blocks {
		end := min((i+1)*p.BlockBytes, len(r.text))
		if p.CoveredBytes > 0 {
			end = min(end, p.CoveredBytes)
		}
		anchors = append(anchors, r.anchor(end))
	}
	r.passed = 0
	for _, end := range p.MessageEnds {
		ends = append(ends, r.messageEndAnchor(min(max(end, 0), len(r.text))))
	}
	return anchors, ends
}

// reading is a rendition beside the texts of its tokens.
type alignment struct {
	p         TokenizedPrompt
	text      []byte
	tokenText []byte
	tokenEnds []uint32 // where in tokens each token ends
	runs      []alignedRun
	passed    int // stretches that begin before the last anchor
}

func (r *alignment) build() {
	size := 0
	r.p.Render(func(_ int32, chunk []byte) bool { size += len(chunk); return true })
	r.text = sensitive.Make("rendition", 0, size)
	r.p.Render(func(_ int32, chunk []byte) bool {
		r.text = append(r.text, chunk[:min(len(chunk), cap(r.text)-len(r.text))]...)
		return true
	})
	if r.p.Text == nil {
		return
	}
	size = 0
	for i := range r.p.Tokens {
		size += len(r.p.Text(i))
	}
	r.tokenText, r.tokenEnds = sensitive.Make("texts of tokens", 0, size), make([]uint32, 0, r.p.Tokens)
	for i := range r.p.Tokens {
		r.tokenText = append(r.tokenText, r.p.Text(i)...)
		r.tokenEnds = append(r.tokenEnds, uint32(len(r.tokenText)))
	}
	r.runs = align(r.text, r.tokenText)
}

func (r *alignment) wipe() {
	sensitive.Wipe(r.text)
	sensitive.Wipe(r.tokenText)
	clear(r.tokenEnds)
}

// anchor is the anchor of a text block that ends at end. It is called with ends that
// grow.
func (r *alignment) anchor(end int) Anchor {
	for r.passed < len(r.runs) && r.runs[r.passed].from < end {
		r.passed++
	}
	for i := r.passed - 1; i >= max(0, r.passed-2); i-- {
		if n, ok := r.exactTokens(r.runs[i], end); ok {
			return Anchor{n, true}
		}
	}
	return Anchor{Tokens: r.estimate(end)}
}

// over is the anchor of a message's end: all tokens of its text are before it. It
// is called with ends that grow.
func (r *alignment) messageEndAnchor(end int) Anchor {
	a := r.anchor(end)
	if i := r.passed - 1; i >= 0 && r.runs[i].whole && r.runs[i].to == end {
		s := r.runs[i]
		if n, ok := r.tokensEndingAt(s.at + s.to - s.from); ok {
			return Anchor{n, true}
		}
	}
	return a
}

// exact finds the last place before end at which tokens end whatever follows.
func (r *alignment) exactTokens(s alignedRun, end int) (tokens int, ok bool) {
	if end > s.to {
		if end-s.to > searchGap {
			return 0, false
		}
		if s.whole && end > s.to && r.textEndsIn(s.to, end) {
			if n, ok := r.tokensEndingAt(s.at + s.to - s.from); ok {
				return n, true
			}
		}
	}
	for i := min(end, s.to) - 1; i > max(s.from, end-searchBack); i-- {
		// A word starts with the space in front of it, what starts a line does not.
		at := i
		switch c, before := r.text[i], r.text[i-1]; {
		case isSpace(c):
			continue
		case before == ' ':
			at = i - 1
		case before != '\n':
			continue
		}
		if n, ok := r.tokensEndingAt(s.at + at - s.from); ok && at > s.from {
			return n, true
		}
	}
	return 0, false
}

// closed tells whether the text that ends at from, but for white space, has come to
// its end before end.
func (r *alignment) textEndsIn(from, end int) bool {
	for ; from < end; from++ {
		if r.text[from] >= tagMedia {
			return true
		}
	}
	return false
}

// endsAt returns how many tokens there are up to a place in the tokens' texts at
// which a token ends.
func (r *alignment) tokensEndingAt(at int) (tokens int, ok bool) {
	n, ok := slices.BinarySearch(r.tokenEnds, uint32(at))
	if !ok {
		return 0, false
	}
	return n + 1, true
}

// estimate is how many tokens there are up to end, in proportion, less a block, but
// not less than at the last place that is known.
func (r *alignment) estimate(end int) int {
	from, to := 0, len(r.text)
	low, high := 0, r.p.Tokens
	if i := r.passed - 1; i >= 0 {
		s := r.runs[i]
		from = min(s.to, end)
		low = r.tokensUpTo(s.at + from - s.from)
	}
	if r.passed < len(r.runs) {
		s := r.runs[r.passed]
		to, high = s.from, r.tokensUpTo(s.at)
	}
	n := low
	if to > from {
		n += (high - low) * (end - from) / (to - from)
	}
	known := 0
	if i := r.passed - 1; i >= 0 {
		known = r.tokensUpTo(r.runs[i].at)
	}
	return max(known, min(n, r.p.Tokens)-r.p.BlockTokens, 0)
}

// upTo returns how many tokens end at or before a place.
func (r *alignment) tokensUpTo(at int) int {
	return sort.Search(len(r.tokenEnds), func(i int) bool { return r.tokenEnds[i] > uint32(at) })
}
