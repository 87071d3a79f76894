// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strconv"

	"github.com/bauxite/caddy-kvaware/internal/admission"
	"github.com/bauxite/caddy-kvaware/internal/prompt"
)

// refusal is the reason why a request is not forwarded, or gets no whole answer.
// All of its text is fixed, so nothing of the request can get into it.
type refusal struct {
	status  int
	reason  string // the metric label and the error's code
	param   string // the invalid member, if there is one
	message string
	// early says that the body may be incomplete, so that the connection cannot
	// serve another request.
	early bool
	// retryAfter is the wait that the client is asked for, in seconds; 0: none.
	retryAfter int
	// allow is the value of the header Allow; "": none.
	allow string
}

var (
	refuseTooLarge = &refusal{status: http.StatusRequestEntityTooLarge, reason: "too_large", early: true,
		message: "the request body is larger than this gateway accepts"}
	// Room comes free as soon as any answer begins.
	refuseNoRoom = &refusal{status: http.StatusInsufficientStorage, reason: "no_room", early: true, retryAfter: 1,
		message: "the gateway has no memory left for this request; try again later"}
	refuseTimeout = &refusal{status: http.StatusRequestTimeout, reason: "timeout", early: true,
		message: "the request body did not arrive in time"}
	refuseIncomplete = &refusal{status: http.StatusBadRequest, reason: "incomplete", early: true,
		message: "the request body ended early"}
	refuseCoding = &refusal{status: http.StatusUnsupportedMediaType, reason: "unsupported_encoding", early: true,
		message: "the Content-Encoding is not supported; send the body plain or as gzip, deflate, br or zstd"}
	refuseBroken = &refusal{status: http.StatusBadRequest, reason: "broken_encoding", early: true,
		message: "the request body does not match its Content-Encoding"}
	refuseUnknown = &refusal{status: http.StatusUnsupportedMediaType, reason: "unknown_body", early: true,
		message: "this gateway forwards JSON bodies only, because it cannot look for personal data in others"}
	refuseUpgrade = &refusal{status: http.StatusUnsupportedMediaType, reason: "upgrade", early: true,
		message: "this gateway does not forward upgraded connections, because it cannot look for personal data in them"}
	refuseTokens = &refusal{status: http.StatusBadRequest, reason: "token_ids", param: "prompt",
		message: "prompts must be text: this gateway cannot look for personal data in token ids or embeddings"}
	refuseBlocked = &refusal{status: http.StatusUnprocessableEntity, reason: "blocked",
		message: "the request contains personal data or secrets that this gateway does not let through"}
	refuseKey = &refusal{status: http.StatusBadRequest, reason: "pii_in_key",
		message: "the request has personal data or secrets in the key of a JSON object, where they cannot be replaced"}
	refuseFindings = &refusal{status: http.StatusInsufficientStorage, reason: "too_many_findings",
		message: "the request contains more personal data or secrets than this gateway handles in one request"}
	refuseCut = &refusal{status: http.StatusBadGateway, reason: "answer_cut_off",
		message: "the engine cut its answer off; what has arrived is incomplete"}
)

// refusalOf returns the refusal for an error of reading or parsing a body. It
// never passes on the text of a library, which may quote the body.
func refusalOf(err error) *refusal {
	var understood *prompt.Error
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &understood):
		return &refusal{status: understood.Status, reason: understood.Code, param: understood.Param, message: understood.Error()}
	case errors.Is(err, errTooLarge), errors.Is(err, errRatio), errors.As(err, &tooLarge):
		return refuseTooLarge
	case errors.Is(err, admission.ErrNoRoom), errors.Is(err, admission.ErrPreempted):
		return refuseNoRoom
	case errors.Is(err, errCoding):
		return refuseCoding
	case errors.Is(err, errBroken):
		return refuseBroken
	case errors.Is(err, errLate), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return refuseTimeout
	}
	return refuseIncomplete
}

// openAIError is the error object of OpenAI's API, which every engine speaks.
type openAIError struct {
	Error struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    string  `json:"code"`
	} `json:"error"`
}

// anthropicError is the error object of Anthropic's API.
type anthropicError struct {
	Type  string `json:"type"`
	Error struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	} `json:"error"`
}

// errorShapes has a row for each prompt.ErrorShape.
var errorShapes = [...]func(*refusal) any{
	prompt.OpenAIError:    func(f *refusal) any { return f.openAI() },
	prompt.AnthropicError: func(f *refusal) any { return f.anthropic() },
}

func (f *refusal) openAI() openAIError {
	e := openAIError{}
	e.Error.Message, e.Error.Type, e.Error.Code = f.message, f.openAIType(), f.reason
	if f.param != "" {
		e.Error.Param = &f.param
	}
	return e
}

func (f *refusal) anthropic() anthropicError {
	e := anthropicError{Type: "error"}
	e.Error.Type, e.Error.Message = f.anthropicType(), f.message
	return e
}

// body returns the refusal in an API's shape.
func (f *refusal) body(shape prompt.ErrorShape) []byte {
	b, err := json.Marshal(errorShapes[shape](f))
	if err != nil {
		panic(err) // strings only: it cannot fail
	}
	return append(b, '\n')
}

func (f *refusal) openAIType() string {
	switch {
	case f.status == http.StatusTooManyRequests:
		return "rate_limit_error"
	case f.status == http.StatusForbidden:
		return "permission_error"
	case f.status >= 500:
		return "server_error"
	}
	return "invalid_request_error"
}

// anthropicTypes are the types of Anthropic's errors, by status. Other statuses are
// of the client's making below 500, else overload.
var anthropicTypes = map[int]string{
	http.StatusUnauthorized:          "authentication_error",
	http.StatusForbidden:             "permission_error",
	http.StatusNotFound:              "not_found_error",
	http.StatusRequestEntityTooLarge: "request_too_large",
	http.StatusTooManyRequests:       "rate_limit_error",
	http.StatusInternalServerError:   "api_error",
	http.StatusBadGateway:            "api_error",
	http.StatusGatewayTimeout:        "timeout_error",
}

func (f *refusal) anthropicType() string {
	if kind := anthropicTypes[f.status]; kind != "" {
		return kind
	}
	if f.status >= 500 {
		return "overloaded_error"
	}
	return "invalid_request_error"
}

// write sends the refusal in an API's shape. Nothing may have been written before.
func (f *refusal) write(w http.ResponseWriter, r *http.Request, shape prompt.ErrorShape) {
	b := f.body(shape)
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if f.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(f.retryAfter))
	}
	if f.allow != "" {
		h.Set("Allow", f.allow)
	}
	if f.early && r.ProtoMajor == 1 {
		h.Set("Connection", "close")
	}
	w.WriteHeader(f.status)
	_, _ = w.Write(b) // the client may be gone: nothing else to do
}
