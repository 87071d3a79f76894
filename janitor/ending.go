// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"errors"
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/bauxite/caddy-kvaware/internal/answer"
)

// statusClientLeft is the status that reverse_proxy writes, for the access log,
// when the client has left before the header of an answer.
const statusClientLeft = 499

// clientWriter is the client's side of an answer. It keeps the first error of a
// write, which tells a client that has left from an engine that fails.
type clientWriter struct {
	*caddyhttp.ResponseWriterWrapper
	r     *http.Request
	err   error
	noted bool // the proxy has noted that the client left
	shut  bool // writes fail
}

// Write implements http.ResponseWriter.
func (c *clientWriter) Write(p []byte) (int, error) {
	if c.shut && c.err == nil {
		c.err = ErrClientLeft
	}
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.ResponseWriter.Write(p)
	if err != nil && c.err == nil {
		c.err = err
	}
	return n, err
}

// left reports whether the client has gone.
func (c *clientWriter) left() bool { return c.err != nil || c.r.Context().Err() != nil }

// finish passes on the bytes that are still held back when the answer ends. It
// reports false if the engine cut the answer off, although its connection ended
// well: a stream without its last event, or a compressed answer that is incomplete.
// The client would not notice.
func (w *responseWriter) finish() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	decoded := w.unpack == nil || w.unpack.finish() == nil
	return w.closeAnswer() && (decoded || w.whole)
}

// close frees the buffers of the answer, however the request ended. Nothing is
// written to the client from then on.
func (w *responseWriter) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.unpack != nil {
		w.unpack.stop()
	}
	w.closeAnswer()
}

// closeAnswer passes on what the answer's reader holds back. It reports false if a
// stream was cut off, after it has told the client. mu is held.
func (w *responseWriter) closeAnswer() bool {
	w.keep.stop()
	if w.answer == nil || w.closed {
		return true
	}
	w.closed = true
	w.client.shut = w.client.left() // nothing is written to nobody
	err := w.answer.Close()
	if w.late != nil {
		w.sendFailure()
		return true
	}
	w.whole = w.hasEnd && err == nil
	w.failed = w.whole && w.stream != nil && w.stream.Failed()
	if !errors.Is(err, answer.ErrCut) {
		return true // the client may be gone: nothing else to do
	}
	w.sendEvent(w.client, refuseCut.event(w.x.api, w.stream.NextNumber()))
	return false
}

// sendEvent sends the client an error event, behind which nothing comes. mu is
// held. A client that has gone gets nothing.
func (w *responseWriter) sendEvent(to io.Writer, event []byte) {
	if w.client.left() {
		return
	}
	if _, err := to.Write(event); err == nil {
		_ = w.flush() // what comes next is the end in any case
	}
}

// ended returns the error for [Observer.End] after the handlers behind this one
// have returned err.
func (w *responseWriter) ended(err error) error {
	switch {
	case w.failed:
		return ErrCut
	case w.whole:
		return nil
	case err == nil && w.committed && !w.client.noted && w.client.err == nil:
		return nil // the whole answer was passed on, even if the client has left since
	case w.client.left():
		return ErrClientLeft
	}
	return err
}

// aborted returns the error for [Observer.End] after a panic. reverse_proxy panics
// with http.ErrAbortHandler when it cannot pass on the rest of an answer.
func (w *responseWriter) aborted(failure any) error {
	switch {
	case w.failed:
		return ErrCut
	case w.whole:
		return nil
	case failure != http.ErrAbortHandler:
		return ErrAborted
	case w.client.left():
		return ErrClientLeft
	case !w.committed:
		return ErrAborted
	}
	return ErrCut
}

// Interface guard
var _ http.ResponseWriter = (*clientWriter)(nil)
