// SPDX-License-Identifier: Apache-2.0

package tokenize

import (
	"errors"
	"io"
	"math"

	"github.com/bauxite/caddy-kvaware/internal/sensitive"
)

// answerReader reads tokens from an engine's answer.
type answerReader struct {
	*scanner
	limits Limits
	tokens *Tokens
}

// readAnswer reads the answer of an endpoint. The error is ErrAnswer, ErrTooLarge or
// that of src.
func readAnswer(src io.Reader, w endpoint, completion bool, l Limits) (*Tokens, error) {
	r := answerReader{scanner: newScanner(src, l.AnswerBytes), limits: l, tokens: new(Tokens)}
	switch {
	case w == endpointTokenize:
		r.tokenized()
	case completion:
		r.renderedList()
	default:
		r.rendered()
	}
	r.end()
	sensitive.Wipe(r.buf)
	err := r.err
	switch {
	case errors.Is(err, errLong):
		err = ErrTooLarge
	case errors.Is(err, errSyntax), err == nil && len(r.tokens.IDs) == 0:
		err = ErrAnswer
	}
	if err != nil {
		r.tokens.Wipe()
		return nil, err
	}
	return r.tokens, nil
}

// tokenized reads an answer of /tokenize.
func (r *answerReader) tokenized() {
	r.object(func(name []byte) {
		switch string(name) {
		case "tokens":
			r.ids()
		case "token_strs":
			r.texts()
		default:
			r.skip()
		}
	})
	t := r.tokens
	t.BeforeMedia = len(t.IDs)
	if len(t.textEnds) == len(t.IDs) {
		t.decode()
		return
	}
	sensitive.Wipe(t.texts)
	t.texts, t.textEnds = nil, nil // of another list than the ids
}

// renderedList reads render's answer to a completion: a list with an answer for each
// prompt, of which there was one.
func (r *answerReader) renderedList() {
	n := 0
	r.array(func() {
		if n++; n > 1 {
			r.fail(errSyntax)
		}
		r.rendered()
	})
}

// rendered reads render's answer to a chat.
func (r *answerReader) rendered() {
	media := int64(math.MaxInt64)
	r.object(func(name []byte) {
		switch string(name) {
		case "token_ids":
			r.ids()
		case "features":
			media = r.features()
		default:
			r.skip()
		}
	})
	t := r.tokens
	t.FromRender = true
	t.BeforeMedia = int(min(int64(len(t.IDs)), media))
}

// features returns the place of the first token of an image or another medium. When
// there are media but their places are missing, that is the beginning.
func (r *answerReader) features() (first int64) {
	first = math.MaxInt64
	if r.null() {
		return first
	}
	hasPlaces := false
	r.object(func(name []byte) {
		if string(name) != "mm_placeholders" || r.peek() != '{' {
			r.skip()
			return
		}
		hasPlaces = true
		r.object(func([]byte) {
			r.array(func() { first = min(first, r.placeholder()) })
		})
	})
	if !hasPlaces {
		return 0
	}
	return first
}

// placeholder reads the range of one medium and returns its beginning.
func (r *answerReader) placeholder() (offset int64) {
	r.object(func(name []byte) {
		if string(name) == "offset" {
			offset = int64(r.count(math.MaxInt32))
			return
		}
		r.skip()
	})
	return offset
}

// ids reads a list of token ids.
func (r *answerReader) ids() {
	t := r.tokens
	t.IDs = t.IDs[:0]
	r.array(func() {
		if len(t.IDs) == r.limits.Tokens {
			r.fail(errLong)
			return
		}
		id := uint32(r.count(math.MaxUint32))
		if len(t.IDs) == cap(t.IDs) {
			t.IDs = appendWiping(t.IDs, id)
		} else {
			t.IDs = append(t.IDs, id)
		}
	})
}

// texts reads a list of token texts, or null. A token may have none.
func (r *answerReader) texts() {
	t := r.tokens
	t.texts, t.textEnds = t.texts[:0], t.textEnds[:0]
	if r.null() {
		return
	}
	r.array(func() {
		if len(t.textEnds) == r.limits.Tokens {
			r.fail(errLong)
			return
		}
		if !r.null() {
			sink := textSink{buf: t.texts, room: r.limits.TextBytes - len(t.texts)}
			r.text(&sink)
			if t.texts = sink.buf; sink.cut {
				r.fail(errLong)
			}
		}
		t.textEnds = appendWiping(t.textEnds, uint32(len(t.texts)))
	})
}
