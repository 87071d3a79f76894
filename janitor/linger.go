// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/sensitive"
)

// A lingering close (RFC 9112 section 9.6): a connection that is closed with
// bytes unread is reset, and the reset takes the answer from a client that still
// sends. So after a refusal the rest of the body is read and dropped, within
// these bounds. The server itself would read 256 KiB at most, and nothing if the
// client asked for the connection to be closed.
//
// By then the request has given back its memory, but for the buffer of a body in
// chunks, which stays counted. Others are read through the connection's own
// buffer, lingerPiece bytes at a time.
const (
	// lingerFactor times max_size, but at least lingerFloor, bounds the bytes
	// that are read. If the client announced more, none are.
	lingerFactor = 2
	lingerFloor  = 1 << 20
	// lingerPause bounds the client's silence. Reading may go on for as long, or
	// until read_timeout is over if that is later.
	lingerPause = 2 * time.Second
	lingerPiece = 512
	// serverLinger bounds the time in which the server reads on by itself before
	// it sends an answer that does not close the connection.
	serverLinger = 500 * time.Millisecond
)

// errLingered ends a lingering close whose time is over.
var errLingered = errors.New("no time left for the rest of the body")

// linger reads and drops the rest of a refused body, after the refusal was
// written. If that is too much, the server ends its side of the connection and
// waits half a second before it closes.
func (h *Handler) linger(w http.ResponseWriter, r *http.Request, a *arrival) {
	defer a.abandon(expired) // the server reads no more
	if !a.unfinished() || r.ProtoMajor != 1 || a.got == 0 && expectsContinue(r) {
		return // HTTP/2 ends single streams; a client that waits for 100 sends nothing
	}
	if a.control.Flush() != nil {
		return
	}
	limit := max(lingerFactor*h.MaxSize, lingerFloor)
	if r.ContentLength-a.got > limit {
		halfClose(w)
		return
	}
	if a.piece != nil {
		a.chunked.resume()
	}
	until := time.Now().Add(lingerPause)
	if a.until.After(until) {
		until = a.until
	}
	rest := &pausing{src: a.body, control: a.control, until: until}
	discard(http.MaxBytesReader(serverWriter(w), io.NopCloser(rest), limit))
}

// discard reads src to its end or first error.
func discard(src io.Reader) {
	buf := sensitive.Make("rest of a refused body", lingerPiece, lingerPiece)
	defer sensitive.Wipe(buf)
	for {
		if _, err := src.Read(buf); err != nil {
			return
		}
	}
}

// halfClose makes the server end only its side of the connection at first when
// the handler returns, as it does for a body above an http.MaxBytesReader's
// limit.
func halfClose(w http.ResponseWriter) {
	discard(http.MaxBytesReader(serverWriter(w), io.NopCloser(strings.NewReader("x")), 0))
}

// pausing reads as long as bytes keep arriving, and at most until a point in
// time.
type pausing struct {
	src     io.Reader
	control interface{ SetReadDeadline(time.Time) error }
	until   time.Time
}

// Read implements io.Reader.
func (p *pausing) Read(b []byte) (int, error) {
	now := time.Now()
	if !now.Before(p.until) {
		return 0, errLingered
	}
	end := now.Add(lingerPause)
	if end.After(p.until) {
		end = p.until
	}
	if err := p.control.SetReadDeadline(end); err != nil {
		return 0, err // without deadlines a silent client could hold us for ever
	}
	return p.src.Read(b)
}

// expectsContinue reports whether the client waits for status 100 before it
// sends its body (RFC 9110 section 10.1.1).
func expectsContinue(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Expect"), "100-continue")
}

// serverWriter returns the server's own writer behind those that wrap it.
func serverWriter(w http.ResponseWriter) http.ResponseWriter {
	for {
		u, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = u.Unwrap()
	}
}

// Interface guard
var _ io.Reader = (*pausing)(nil)
