// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/admission"
	"github.com/bauxite/caddy-kvaware/internal/sensitive"
)

// expired is a deadline that has passed.
var expired = time.Unix(1, 0)

var (
	errTooLarge = errors.New("body larger than allowed")
	errLate     = errors.New("body not complete in time")
)

// arrival reads a body as it arrives from the client.
type arrival struct {
	body    io.Reader    // the request's body, or chunked
	chunked *chunkedBody // nil: the body has a length, or is HTTP/2
	control *http.ResponseController
	lease   *admission.Lease
	piece   *admission.Lease // holds the buffer of chunked once the request is refused
	limit   int64            // the largest size, in bytes
	got     int64
	until   time.Time
	err     error // of the last read of body
}

// newArrival opens the lease for r's body and returns its arrival.
func (h *Handler) newArrival(w http.ResponseWriter, r *http.Request) *arrival {
	a := &arrival{
		body: r.Body, control: http.NewResponseController(w),
		limit: h.MaxSize, until: time.Now().Add(time.Duration(h.ReadTimeout)),
	}
	if isChunked(r) {
		a.chunked = newChunkedBody(r.Body)
	}
	a.lease = h.queue.Open(admission.Request{
		Client:    clientAddr(r),
		Limit:     h.InFlightLimit,
		MaxWait:   time.Duration(h.AdmitWait),
		Announced: min(r.ContentLength, h.MaxSize),
		Interrupt: a.interrupt,
	})
	return a
}

// interrupt makes a read of the body fail soon.
func (a *arrival) interrupt() {
	if a.chunked != nil {
		a.chunked.Interrupt()
		return
	}
	_ = a.control.SetReadDeadline(expired)
}

// Read implements io.Reader.
func (a *arrival) Read(p []byte) (int, error) {
	if a.lease.Preempted() {
		return 0, admission.ErrPreempted
	}
	n, err := a.body.Read(p)
	a.err = err
	if n > 0 {
		a.lease.Progress(n)
	}
	if a.got += int64(n); a.got > a.limit {
		return 0, errTooLarge
	}
	switch {
	case err == io.EOF || err == nil && time.Now().Before(a.until):
		return n, err
	case a.lease.Preempted():
		return n, admission.ErrPreempted
	case err == nil:
		return n, errLate // a server without deadlines: the time is checked between reads
	}
	return n, err
}

// unfinished reports whether the client may still be sending the body.
func (a *arrival) unfinished() bool {
	return a != nil && (a.err == nil || errors.Is(a.err, os.ErrDeadlineExceeded) || errors.Is(a.err, admission.ErrPreempted))
}

// abandon ends the reads of a body. The server may go on reading until then.
func (a *arrival) abandon(until time.Time) {
	if a == nil {
		return
	}
	_ = a.control.SetReadDeadline(until)
	if a.piece != nil {
		a.chunked.close()
		a.piece.Close()
	}
}

// readBody reads a whole body, decompressed, into memory that is counted as it
// grows.
func (h *Handler) readBody(r *http.Request, a *arrival) ([]byte, error) {
	if r.ContentLength > h.MaxSize {
		return nil, errTooLarge
	}
	c, err := codingOf(r.Header)
	if err != nil {
		return nil, err
	}
	if a.chunked != nil {
		_ = a.control.SetReadDeadline(time.Time{}) // also the server's own
		return h.readChunked(r, a, c)
	}
	// Where the server has no deadlines, arrival checks the time between reads.
	_ = a.control.SetReadDeadline(a.until)
	body, err := h.readWhole(r, a, c)
	if err == nil {
		_ = a.control.SetReadDeadline(time.Time{})
	}
	return body, err
}

// readChunked is readBody for a body in chunks.
func (h *Handler) readChunked(r *http.Request, a *arrival, c coding) ([]byte, error) {
	if err := a.lease.Grow(r.Context(), chunkedPiece); err != nil {
		return nil, err
	}
	a.chunked.start(a.until)
	a.body = a.chunked
	body, err := h.readWhole(r, a, c)
	if err != nil {
		a.piece = a.lease.Split(chunkedPiece)
		return nil, err
	}
	a.chunked.close()
	a.lease.Shrink(chunkedPiece)
	return body, nil
}

// readWhole reads the body to its end and makes its lease that of a complete
// body.
func (h *Handler) readWhole(r *http.Request, a *arrival, c coding) ([]byte, error) {
	body, err := h.gather(r.Context(), a, c, r.ContentLength, a.lease)
	if err != nil {
		return nil, err
	}
	if !a.lease.Complete() {
		sensitive.Wipe(body)
		return nil, admission.ErrPreempted
	}
	return body, nil
}
