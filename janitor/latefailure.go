// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/bauxite/caddy-kvaware/internal/answer"
)

// maxLateBody bounds the part of an engine's error that is read, in bytes.
const maxLateBody = 16 << 10

// lateFailure is an answer that cannot be sent as it is, because comments have
// committed the client to a stream of events. It gathers the body of an engine's
// error for its message.
type lateFailure struct {
	reason *refusal // nil: the status and body are an engine's error
	status int
	body   []byte
}

// refuseNoStream is an answer of success that is no stream.
var refuseNoStream = &refusal{status: http.StatusBadGateway, reason: "no_stream",
	message: "the engine did not answer with a stream of events"}

// Write implements io.Writer. It drops what is above the bound.
func (f *lateFailure) Write(p []byte) (int, error) {
	f.body = append(f.body, p[:min(len(p), maxLateBody-len(f.body))]...)
	return len(p), nil
}

// Close implements io.Closer.
func (f *lateFailure) Close() error { return nil }

// failedLate notes that the handlers behind this one have failed, when the client
// can be told only by an event. It reports whether the request has failed so.
func (w *responseWriter) failedLate(err error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keep.stop()
	switch {
	case w.keep == nil, !w.keep.begun, w.client.left():
		return false
	case w.late != nil:
		return true
	case w.committed:
		return false
	}
	status := http.StatusBadGateway
	if err != nil {
		status = statusOf(err)
	}
	w.late = &lateFailure{reason: noAnswer(status)}
	w.answer = w.late
	return true
}

// gatherFailure makes the body that follows the message of a failure. mu is held.
func (w *responseWriter) gatherFailure(status int) {
	w.late = &lateFailure{status: status}
	switch {
	case w.x.refused:
		w.late.reason = &refuseOverload
	case status < 300:
		w.late.reason = refuseNoStream
	}
	w.answer, w.stream = w.late, nil
	if w.unpack != nil {
		w.unpack.out = w.late
	}
}

// sendFailure sends the client the failure as an event. The engine's message may
// have placeholders, which are restored. mu is held.
func (w *responseWriter) sendFailure() {
	var p answer.Placeholders
	if w.x.restores() {
		p = w.x.vault
	}
	s := answer.NewStream(w.client, p, nil)
	w.sendEvent(s, w.late.refusal().event(w.x.api, 0))
	_ = s.Close()
}

// refusal returns the failure as an error of the gateway. An engine's error keeps
// its status, which decides the type, and its message.
func (f *lateFailure) refusal() *refusal {
	if f.reason != nil {
		return f.reason
	}
	r := &refusal{status: f.status, reason: "engine_error"}
	if r.message = f.message(); r.message == "" {
		r.message = fmt.Sprintf("the engine answered with status %d", f.status)
	}
	return r
}

// message returns the engine's own message, "" without one. Engines send it in an
// object error, beside "object":"error", or as the detail of their web server.
func (f *lateFailure) message() string {
	var body struct {
		Error   json.RawMessage `json:"error"`
		Message string          `json:"message"`
		Detail  string          `json:"detail"`
	}
	if json.Unmarshal(f.body, &body) != nil {
		return ""
	}
	var inner struct {
		Message string `json:"message"`
	}
	var plain string
	switch {
	case json.Unmarshal(body.Error, &inner) == nil && inner.Message != "":
		return inner.Message
	case json.Unmarshal(body.Error, &plain) == nil && plain != "":
		return plain
	case body.Message != "":
		return body.Message
	}
	return body.Detail
}

// statusOf returns the status of a handler's error.
func statusOf(err error) int {
	var failure caddyhttp.HandlerError
	if errors.As(err, &failure) && failure.StatusCode >= 400 {
		return failure.StatusCode
	}
	return http.StatusInternalServerError
}

// Interface guard
var _ io.WriteCloser = (*lateFailure)(nil)
