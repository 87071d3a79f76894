// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"io"
	"net/http"
	"os"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/admission"
	"github.com/bauxite/caddy-kvaware/internal/sensitive"
)

// chunkedPiece is the size of a chunkedBody's buffer in bytes.
const chunkedPiece = 8 << 10

// chunkedBody reads an HTTP/1.1 body in chunks, with waits that can be ended and
// begun again. A deadline cannot do that: net/http's reader of chunks fails for
// ever after its first error, and linger could not read on. So each read runs in
// a goroutine of its own.
type chunkedBody struct {
	body      io.Reader
	piece     []byte
	done      chan readResult // of the read under way
	reading   bool
	rest      []byte // the part of piece that was not taken yet
	err       error  // comes after rest
	interrupt chan struct{}
	late      *time.Timer // nil: only deadlines of the connection end a wait
}

type readResult struct {
	n   int
	err error
}

// newChunkedBody returns a chunkedBody that can be interrupted, but not read
// before start.
func newChunkedBody(body io.Reader) *chunkedBody {
	return &chunkedBody{body: body, done: make(chan readResult, 1), interrupt: make(chan struct{})}
}

// start makes the buffer. Reads fail with os.ErrDeadlineExceeded after until.
func (c *chunkedBody) start(until time.Time) {
	c.piece = sensitive.Make("chunks of a body", chunkedPiece, chunkedPiece)
	c.late = time.NewTimer(time.Until(until))
}

// isChunked reports whether a chunkedBody must read r's body. Bodies with a
// length can be read on after a deadline, and HTTP/2 ends a stream alone.
func isChunked(r *http.Request) bool { return r.ProtoMajor == 1 && r.ContentLength < 0 }

// Read implements io.Reader. It returns admission.ErrPreempted after Interrupt
// and os.ErrDeadlineExceeded when the time is over.
func (c *chunkedBody) Read(p []byte) (int, error) {
	if len(c.rest) == 0 && c.err == nil {
		if err := c.fetch(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.rest)
	if c.rest = c.rest[n:]; len(c.rest) > 0 {
		return n, nil
	}
	return n, c.err
}

// fetch waits for the read under way, or starts one.
func (c *chunkedBody) fetch() error {
	if !c.reading {
		c.reading = true
		go c.read()
	}
	var late <-chan time.Time
	if c.late != nil {
		late = c.late.C
	}
	select {
	case r := <-c.done:
		c.finish(r)
		return nil
	case <-c.interrupt:
		return admission.ErrPreempted
	case <-late:
		return os.ErrDeadlineExceeded
	}
}

func (c *chunkedBody) finish(r readResult) { c.reading, c.rest, c.err = false, c.piece[:r.n], r.err }

// read does one read. A panic of a body that another handler wrapped must not
// end the process.
func (c *chunkedBody) read() {
	r := readResult{err: io.ErrUnexpectedEOF}
	defer func() {
		_ = recover()
		c.done <- r
	}()
	r.n, r.err = c.body.Read(c.piece)
}

// Interrupt makes the current or next Read fail. It is called at most once.
func (c *chunkedBody) Interrupt() { close(c.interrupt) }

// resume makes Read wait again after Interrupt or the end of its time. From then
// on only deadlines of the connection end a wait.
func (c *chunkedBody) resume() {
	c.interrupt = nil
	c.late.Stop()
	c.late = nil
}

// close waits for the read under way, which a deadline must have ended, and
// wipes the buffer.
func (c *chunkedBody) close() {
	if c.late != nil {
		c.late.Stop()
	}
	if c.reading {
		c.finish(<-c.done)
	}
	sensitive.Wipe(c.piece)
}

// Interface guard
var _ io.Reader = (*chunkedBody)(nil)
