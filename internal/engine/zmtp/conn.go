// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// bufferSize is the size of a connection's read buffer, in bytes: the only memory
// of an idle one. Handshakes and commands must fit.
const bufferSize = 4096

// Conn is a connection after the handshake. One goroutine at a time may receive;
// any may send and close.
type Conn struct {
	conn    net.Conn
	socket  Socket
	options Options
	failure atomic.Pointer[error] // reason why it is closed; nil: it is open

	sending sync.Mutex
	out     []byte // scratch, guarded by sending

	// Receive uses the rest.
	receiving sync.Mutex
	in        [bufferSize]byte // in[r:w] has arrived and is not parsed yet
	r, w      int
	until     time.Time // the caller's deadline; zero: none
	next      assembly  // the message under way
	heartbeat heartbeat
	pong      [2 + 5 + maxContext]byte // scratch
}

// RemoteAddr returns the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// Close ends the connection, and calls of Receive and Send with ErrClosed. It may be
// called more than once and returns nil.
func (c *Conn) Close() error {
	c.fail(ErrClosed)
	c.receiving.Lock() // waits for Receive to return
	c.next.release(c.options.Budget)
	c.receiving.Unlock()
	return nil
}

// fail closes the connection for a reason, and returns the first one given.
func (c *Conn) fail(err error) error {
	if c.failure.CompareAndSwap(nil, &err) {
		_ = c.conn.Close()
	}
	return c.failed()
}

// failed returns the error that closed the connection, or nil.
func (c *Conn) failed() error {
	if err := c.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// compact moves the buffered bytes to the start of the buffer.
func (c *Conn) compact() {
	c.w = copy(c.in[:], c.in[c.r:c.w])
	c.r = 0
}

var _ io.Closer = (*Conn)(nil)
