// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// bufferSize is what a connection reads into, in bytes: all it needs when it
// is idle. Handshakes and commands must fit.
const bufferSize = 4096

// Conn is a connection after the handshake. One goroutine at a time receives;
// any may send and close.
type Conn struct {
	conn    net.Conn
	socket  Socket
	options Options
	failure atomic.Pointer[error] // why it is closed; nil: it is not

	sending sync.Mutex
	out     []byte // scratch, under sending

	// What follows is Receive's.
	receiving sync.Mutex
	in        [bufferSize]byte // in[r:w] has arrived and is not looked at yet
	r, w      int
	until     time.Time // the caller's deadline; zero: none
	next      assembly  // the message under way
	heartbeat heartbeat
	pong      [2 + 5 + maxContext]byte // scratch
}

// RemoteAddr returns the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// Close ends the connection, and with it whatever waits in Receive or Send,
// with ErrClosed. It may be called more than once and returns nil.
func (c *Conn) Close() error {
	c.fail(ErrClosed)
	c.receiving.Lock() // until Receive is out
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

// failed returns why the connection is closed, or nil.
func (c *Conn) failed() error {
	if err := c.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// compact moves what is in the buffer to its start.
func (c *Conn) compact() {
	c.w = copy(c.in[:], c.in[c.r:c.w])
	c.r = 0
}

var _ io.Closer = (*Conn)(nil)
