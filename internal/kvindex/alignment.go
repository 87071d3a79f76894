// SPDX-License-Identifier: Apache-2.0

package kvindex

import (
	"slices"
	"sort"

	"github.com/bauxite/caddy-kvaware/internal/sensitive"
)

// TokenizedPrompt is a prompt and its tokens, as AlignTokens needs them.
type TokenizedPrompt struct {
	// Render streams the rendition that the text chain was made of.
	Render func(yield func(message int32, chunk []byte) bool)
	// BlockBytes is the size of a text block, Blocks the length of the chain, and
	// CoveredBytes the part of the rendition that it covers: the last block may
	// be shorter.
	BlockBytes, Blocks, CoveredBytes int
	// MessageEnds are the ends of messages in the rendition, in bytes, ascending.
	MessageEnds []int
	// BlockTokens is the engine's block size. Estimates are reduced by it.
	BlockTokens int
	// Tokens is the number of the prompt's tokens, media included.
	Tokens int
	// Text returns the bytes of the prompt that a token stands for. Text is nil
	// when they are not known.
	Text func(token int) []byte
}

const (
	// searchBack bounds the distance, before the end of a text block, of a place at
	// which a token ends whatever follows.
	searchBack = 256
	// searchGap bounds the distance, after the end of a text, at which a text block
	// still gets an exact anchor.
	searchGap = 64
)

// AlignTokens returns an anchor for each text block, and one for each end of a
// message, which another message follows whatever it says.
//
// Where the texts of the tokens are known they are aligned with the texts in the
// rendition, passing over what the template puts in between. An anchor is exact at
// the end of a text. Inside a text it is exact where a word or line starts whose
// first character is still in the text block: tokenizers do not look further, so
// the tokens up to there are the same however the text goes on. The anchor counts
// the tokens that end at or before the last such place.
//
// Elsewhere it is interpolated between the nearest known places, less one of the
// engine's blocks.
//
// It takes time linear in the length of prompt and tokens, and memory for a copy of
// both texts, which is wiped at the end.
func AlignTokens(p TokenizedPrompt) (anchors, ends []Anchor) {
	a := alignment{p: p}
	defer a.wipe()
	a.build()
	anchors = make([]Anchor, 0, p.Blocks)
	for i := range p.Blocks {
		end := min((i+1)*p.BlockBytes, len(a.text))
		if p.CoveredBytes > 0 {
			end = min(end, p.CoveredBytes)
		}
		anchors = append(anchors, a.anchor(end))
	}
	a.passed = 0
	for _, end := range p.MessageEnds {
		ends = append(ends, a.messageEndAnchor(min(max(end, 0), len(a.text))))
	}
	return anchors, ends
}

// alignment holds a rendition and the texts of its tokens.
type alignment struct {
	p         TokenizedPrompt
	text      []byte
	tokenText []byte
	tokenEnds []uint32 // in tokenText
	runs      []alignedRun
	passed    int // runs that begin before the last anchor
}

func (a *alignment) build() {
	size := 0
	a.p.Render(func(_ int32, chunk []byte) bool { size += len(chunk); return true })
	a.text = sensitive.Make("rendition", 0, size)
	a.p.Render(func(_ int32, chunk []byte) bool {
		a.text = append(a.text, chunk[:min(len(chunk), cap(a.text)-len(a.text))]...)
		return true
	})
	if a.p.Text == nil {
		return
	}
	size = 0
	for i := range a.p.Tokens {
		size += len(a.p.Text(i))
	}
	a.tokenText, a.tokenEnds = sensitive.Make("texts of tokens", 0, size), make([]uint32, 0, a.p.Tokens)
	for i := range a.p.Tokens {
		a.tokenText = append(a.tokenText, a.p.Text(i)...)
		a.tokenEnds = append(a.tokenEnds, uint32(len(a.tokenText)))
	}
	a.runs = align(a.text, a.tokenText)
}

func (a *alignment) wipe() {
	sensitive.Wipe(a.text)
	sensitive.Wipe(a.tokenText)
	clear(a.tokenEnds)
}

// anchor returns the anchor of a text block that ends at end. Calls must be in
// ascending order.
func (a *alignment) anchor(end int) Anchor {
	for a.passed < len(a.runs) && a.runs[a.passed].from < end {
		a.passed++
	}
	for i := a.passed - 1; i >= max(0, a.passed-2); i-- {
		if n, ok := a.exactTokens(a.runs[i], end); ok {
			return Anchor{n, true}
		}
	}
	return Anchor{Tokens: a.estimate(end)}
}

// messageEndAnchor returns the anchor of a message's end: all tokens of its text
// are before it. Calls must be in ascending order.
func (a *alignment) messageEndAnchor(end int) Anchor {
	anchor := a.anchor(end)
	if i := a.passed - 1; i >= 0 && a.runs[i].whole && a.runs[i].to == end {
		s := a.runs[i]
		if n, ok := a.tokensEndingAt(s.at + s.to - s.from); ok {
			return Anchor{n, true}
		}
	}
	return anchor
}

// exactTokens finds the last place before end at which a token ends whatever
// follows, and returns the tokens up to there.
func (a *alignment) exactTokens(s alignedRun, end int) (tokens int, ok bool) {
	if end > s.to {
		if end-s.to > searchGap {
			return 0, false
		}
		if s.whole && end > s.to && a.textEndsIn(s.to, end) {
			if n, ok := a.tokensEndingAt(s.at + s.to - s.from); ok {
				return n, true
			}
		}
	}
	for i := min(end, s.to) - 1; i > max(s.from, end-searchBack); i-- {
		// A word starts with the space before it, the start of a line does not.
		at := i
		switch c, before := a.text[i], a.text[i-1]; {
		case isSpace(c):
			continue
		case before == ' ':
			at = i - 1
		case before != '\n':
			continue
		}
		if n, ok := a.tokensEndingAt(s.at + at - s.from); ok && at > s.from {
			return n, true
		}
	}
	return 0, false
}

// textEndsIn reports whether the rendition has a tag between from and end, so that
// the text before has ended.
func (a *alignment) textEndsIn(from, end int) bool {
	for ; from < end; from++ {
		if a.text[from] >= tagMedia {
			return true
		}
	}
	return false
}

// tokensEndingAt returns the number of tokens up to a place in tokenText at which a
// token ends.
func (a *alignment) tokensEndingAt(at int) (tokens int, ok bool) {
	n, ok := slices.BinarySearch(a.tokenEnds, uint32(at))
	if !ok {
		return 0, false
	}
	return n + 1, true
}

// estimate interpolates how many tokens there are up to end, less a block, but not
// less than at the last known place.
func (a *alignment) estimate(end int) int {
	from, to := 0, len(a.text)
	low, high := 0, a.p.Tokens
	if i := a.passed - 1; i >= 0 {
		s := a.runs[i]
		from = min(s.to, end)
		low = a.tokensUpTo(s.at + from - s.from)
	}
	if a.passed < len(a.runs) {
		s := a.runs[a.passed]
		to, high = s.from, a.tokensUpTo(s.at)
	}
	n := low
	if to > from {
		n += (high - low) * (end - from) / (to - from)
	}
	known := 0
	if i := a.passed - 1; i >= 0 {
		known = a.tokensUpTo(a.runs[i].at)
	}
	return max(known, min(n, a.p.Tokens)-a.p.BlockTokens, 0)
}

// tokensUpTo returns the number of tokens that end at or before a place in tokenText.
func (a *alignment) tokensUpTo(at int) int {
	return sort.Search(len(a.tokenEnds), func(i int) bool { return a.tokenEnds[i] > uint32(at) })
}
