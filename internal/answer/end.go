// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"encoding/json"
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

// Failed reports whether the engine has failed: an error has come in place of the rest
// of the answer, and it does not say that the request is at fault.
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

// requestFaults are the types of errors for which the request is at fault, of OpenAI,
// Anthropic and vLLM.
var requestFaults = map[string]bool{
	"invalid_request_error": true, "not_found_error": true, "request_too_large": true, "BadRequestError": true, "NotFoundError": true,
}

// errorReport holds what an error says of its cause.
type errorReport struct {
	Code json.RawMessage `json:"code"` // vLLM: the status that the error would have had
	Type string          `json:"type"`
}

func (r *errorReport) isRequestFault() bool {
	return requestFaults[r.Type] || len(r.Code) == 3 && r.Code[0] == '4'
}

// isRequestFault reports whether an error says that the request is at fault. Another
// engine would say the same.
func (e *event) isRequestFault() bool {
	var outer, inner errorReport
	for _, m := range e.members {
		switch value := e.bytes(m.value); string(e.bytes(m.name)) {
		case "code":
			outer.Code = value
		case "error":
			if json.Unmarshal(value, &inner) != nil {
				inner = errorReport{} // a text, which says nothing
			}
		}
	}
	return outer.isRequestFault() || inner.isRequestFault()
}
