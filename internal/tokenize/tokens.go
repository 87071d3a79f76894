// SPDX-License-Identifier: Apache-2.0

package tokenize

import "github.com/bauxite/caddy-kvaware/internal/sensitive"

// Tokens is what a prompt is made of for one model. It is a copy of the prompt
// in another spelling: it must not outlive the work it was fetched for, and
// Wipe has to be called in the end.
type Tokens struct {
	// IDs are the tokens, in order. There is at least one.
	IDs []uint32

	// Usable is how many tokens stand before the first image, sound or other
	// thing that is not text. What follows has ids that stand for anything, so
	// nothing can be told from them.
	BeforeMedia int

	// Rendered: the engine made them of the very request. Otherwise they are of
	// those parts of the request that /tokenize takes.
	FromRender bool

	texts    []byte
	textEnds []uint32 // where in arena the text of each token ends
}

// HasTexts reports whether the text of each token is known.
func (t *Tokens) HasTexts() bool { return len(t.textEnds) > 0 }

// Text is what token i stands for, as bytes of the prompt in the form that the
// model's template gives it: the texts of all tokens in a row are that prompt.
// A character may be spread over several tokens. It is nil when texts are not
// known. It must be neither changed nor kept.
//
// Tokenizers may have changed the text (a space in front, normalised spelling,
// special tokens written as words), so it need not be found in the request.
func (t *Tokens) Text(i int) []byte {
	if !t.HasTexts() {
		return nil
	}
	begin := uint32(0)
	if i > 0 {
		begin = t.textEnds[i-1]
	}
	return t.texts[begin:t.textEnds[i]:t.textEnds[i]]
}

// Footprint is how many bytes of memory the tokens take.
func (t *Tokens) Footprint() int64 {
	return int64(4*cap(t.IDs) + 4*cap(t.textEnds) + cap(t.texts))
}

// Wipe zeroes ids and texts.
func (t *Tokens) Wipe() {
	clear(t.IDs[:cap(t.IDs)])
	sensitive.Wipe(t.texts)
	clear(t.textEnds[:cap(t.textEnds)])
	*t = Tokens{}
}

// appendWiping is append that leaves nothing in a buffer that was outgrown.
func appendWiping[T byte | uint32](b []T, more ...T) []T {
	if len(more) <= cap(b)-len(b) {
		return append(b, more...)
	}
	grown := make([]T, len(b), max(64, 2*len(b), len(b)+len(more)))
	copy(grown, b)
	clear(b[:cap(b)])
	return append(grown, more...)
}
