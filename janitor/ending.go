// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
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
}

// Write implements http.ResponseWriter.
func (c *clientWriter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	if err != nil && c.err == nil {
		c.err = err
	}
	return n, err
}

// left reports whether the client has gone.
func (c *clientWriter) left() bool { return c.err != nil || c.r.Context().Err() != nil }

// ended returns the error for [Observer.End] after the handlers behind this one
// have returned err.
func (w *responseWriter) ended(err error) error {
	switch {
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
