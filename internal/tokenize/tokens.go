// SPDX-License-Identifier: Apache-2.0

package tokenize

import "github.com/bauxite/caddy-kvaware/internal/sensitive"

// Tokens are a prompt's tokens for one model. They are as sensitive as the prompt:
// they must not outlive the work they were fetched for, and Wipe has to be called at
// the end.
type Tokens struct {
	// IDs are the tokens, in order. There is at least one.
	IDs []uint32

	// BeforeMedia is the number of tokens before the first image, sound or other
	// medium. The ids behind that are placeholders, which say nothing about it.
	BeforeMedia int

	// FromRender: the engine's render endpoint made them from the whole request.
	// Otherwise they are from the members that /tokenize takes.
	FromRender bool

	texts    []byte
	textEnds []uint32 // where in texts the text of each token ends
}

// HasTexts reports whether the text of each token is known.
func (t *Tokens) HasTexts() bool { return len(t.textEnds) > 0 }

// Text returns what token i stands for, as bytes of the prompt in the form that the
// model's template gives it: the texts of all tokens in a row are that prompt. A
// character may be spread over several tokens. It is nil when texts are not known.
// It must be neither changed nor kept.
//
// Tokenizers may have changed the text (a leading space, normalized spelling, special
// tokens written as words), so it need not be found in the request.
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

// Footprint returns the memory of the tokens in bytes.
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

// appendWiping is append that wipes a buffer that was outgrown.
func appendWiping[T byte | uint32](b []T, more ...T) []T {
	if len(more) <= cap(b)-len(b) {
		return append(b, more...)
	}
	grown := make([]T, len(b), max(64, 2*len(b), len(b)+len(more)))
	copy(grown, b)
	clear(b[:cap(b)])
	return append(grown, more...)
}
