// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/admission"
)

// Many clients send all of a body before they read what is answered, and a
// connection that is closed with bytes unread is reset, which takes the answer
// from them. So the rest of a refused body is read and dropped (what RFC 9112
// section 9.6 asks of a server), as long as it keeps coming, is not much larger
// than max_size and takes no longer than the body might have taken. The server
// itself would read 256 KiB at most, and nothing at all of a client that wants
// the connection closed.
//
// It costs less than a body that is accepted: no memory but a buffer that is
// shared, no look at the bytes. What is announced as larger is not read.
const (
	// drainTimes max_size, and drainFloor bytes in any case, is how much is read.
	drainTimes = 2
	drainFloor = 1 << 20
	// drainPause is how long a client may be silent meanwhile.
	drainPause = 2 * time.Second
	// drainTime is what drainUntil grants.
	drainTime = 500 * time.Millisecond
)

// errSilent ends a drain whose time is over.
var errSilent = errors.New("no time left for the rest of the body")

// drain reads what is left of a body whose request was refused, after the
// refusal has been sent. err is why the body is not whole.
func (h *Handler) drain(w http.ResponseWriter, r *http.Request, a *arrival) {
	if a == nil || a.over || r.ProtoMajor != 1 || a.got == 0 && expectsContinue(r) {
		return // HTTP/2 ends a stream without touching others; who waits for 100 sends nothing
	}
	control := http.NewResponseController(w)
	if control.Flush() != nil {
		return
	}
	most := max(drainTimes*h.MaxSize, drainFloor)
	if r.ContentLength-a.got > most {
		most = 0
	}
	// Its own reader tells the server when there was more: then it ends only
	// its side of the connection at first, and the client has time to read.
	rest := http.MaxBytesReader(innermost(w), r.Body, most)
	_, _ = io.Copy(io.Discard, &pausing{src: rest, control: control, until: a.until})
	_ = control.SetReadDeadline(expired) // what is left now stays unread
}

// pausing reads while bytes keep coming, at most until a point in time.
type pausing struct {
	src     io.Reader
	control *http.ResponseController
	until   time.Time
}

// Read implements io.Reader.
func (p *pausing) Read(b []byte) (int, error) {
	now := time.Now()
	if !now.Before(p.until) {
		return 0, errSilent
	}
	end := now.Add(drainPause)
	if end.After(p.until) {
		end = p.until
	}
	if err := p.control.SetReadDeadline(end); err != nil {
		return 0, err // without deadlines a silent client could hold us for ever
	}
	return p.src.Read(b)
}

// drainUntil is how long the server may go on by itself with a body that was
// refused: no time for one that has stalled already.
func drainUntil(err error) time.Time {
	if isStall(err) {
		return expired
	}
	return time.Now().Add(drainTime)
}

// isStall tells whether a body was given up because it did not come in.
func isStall(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, errLate) || errors.Is(err, admission.ErrPreempted)
}

// expectsContinue tells whether the client waits for a word before it sends
// its body (RFC 9110 section 10.1.1).
func expectsContinue(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Expect"), "100-continue")
}

// innermost is the server's own writer behind those that wrap it.
func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		u, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = u.Unwrap()
	}
}

// Interface guards
var _ io.Reader = (*pausing)(nil)
