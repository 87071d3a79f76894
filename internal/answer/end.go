// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"errors"
	"slices"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
)

// ErrCut is the error of Close when the stream has ended before the answer: see
// [Stream.ExpectEnd].
var ErrCut = errors.New("answer: the stream was cut off")

// HasEnd reports whether the streamed answers of an API have a last event.
func HasEnd(api prompt.API) bool {
	for i := range formats {
		if slices.Contains(formats[i].apis, api) {
			return true
		}
	}
	return false
}

// ExpectEnd says that the answer has a last event: [DONE], message_stop,
// response.completed, or an error. If the stream ends without it, Close drops the
// unfinished event and returns [ErrCut]. Call it before the first Write.
func (s *Stream) ExpectEnd() { s.expectEnd = true }

// cut reports whether the last event of the answer is missing. An event that was
// too large to read may be the last one.
func (s *Stream) cut() bool {
	return s.expectEnd && !s.tally.over && (!s.large || s.frames.over)
}

// Failed reports whether an error has come in place of the rest of the answer.
func (s *Stream) Failed() bool { return s.tally.failed }

// NextNumber returns the sequence_number that the next event would have, in the
// Responses API. In others it is 0.
func (s *Stream) NextNumber() int { return s.tally.number }

// isError reports whether the engine reports an error, in any API's form. Nothing
// but [DONE] follows.
func (e *event) isError() bool {
	for _, m := range e.members {
		switch value := e.bytes(m.value); string(e.bytes(m.name)) {
		case "error":
			if value[0] == '{' || value[0] == '"' {
				return true
			}
		case "object", "type":
			if string(value) == `"error"` {
				return true
			}
		}
	}
	return false
}
