// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"context"
	"net"
	"time"
)

// keepAlive finds peers that vanished, where the peer does not know heartbeats.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 10 * time.Second, Count: 3}

// Dial connects to host:port over TCP and shakes hands, both within
// HandshakeTimeout.
func Dial(ctx context.Context, address string, s Socket, o Options) (*Conn, error) {
	o = o.withDefaults()
	ctx, cancel := context.WithTimeout(ctx, o.HandshakeTimeout)
	defer cancel()
	conn, err := (&net.Dialer{KeepAliveConfig: keepAlive}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, dialError(ctx, err)
	}
	return Handshake(ctx, conn, s, o)
}

// Handshake makes a Conn of a connection, dialled or accepted, within
// HandshakeTimeout. The Conn owns the connection; after an error it is closed. A
// peer whose socket does not fit s gives ErrWrongPort.
func Handshake(ctx context.Context, conn net.Conn, s Socket, o Options) (*Conn, error) {
	c := &Conn{conn: conn, socket: s, options: o.withDefaults()}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetKeepAliveConfig(keepAlive) // accepted connections have the defaults
	}
	deadline := time.Now().Add(c.options.HandshakeTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	_ = conn.SetDeadline(deadline) // later, each read and write sets its own
	// A past deadline ends a wait without closing a file descriptor in use.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	err := c.handshake()
	if !stop() {
		err = contextError(ctx) // the past deadline may be set only now
	}
	if err != nil {
		return nil, c.fail(handshakeError(err))
	}
	c.heartbeat.received = c.r < c.w
	return c, nil
}

// handshake exchanges greetings and READY commands. All of it fits the buffer, and
// one deadline covers it.
func (c *Conn) handshake() error {
	g := greeting()
	if _, err := c.conn.Write(g[:]); err != nil {
		return greetingError(err)
	}
	for c.w < greetingSize {
		if err := c.readMore(); err != nil {
			return greetingError(err)
		}
		if err := checkSignature(c.in[:min(c.w, greetingSize)]); err != nil {
			return err
		}
	}
	minor, err := minorVersion(c.in[:greetingSize])
	if err != nil {
		return err
	}
	c.heartbeat.optional = minor == 0
	c.r = greetingSize
	if _, err := c.conn.Write(readyCommand(c.socket)); err != nil {
		return readyError(err)
	}
	return readyError(c.awaitReady())
}

// awaitReady waits for the peer's READY.
func (c *Conn) awaitReady() error {
	for {
		h, ok, err := parseHeader(c.in[c.r:c.w])
		switch {
		case err != nil:
			return err
		case ok && !h.command:
			return ErrMalformed // no message may come before READY
		case ok && h.size > maxCommand:
			return ErrTooLarge
		case ok && c.w-c.r >= h.length+int(h.size):
			body := c.in[c.r+h.length:][:h.size]
			c.r += h.length + int(h.size)
			return c.checkReady(body)
		}
		c.compact()
		if err := c.readMore(); err != nil {
			return err
		}
	}
}

// checkReady checks the first command of a peer.
func (c *Conn) checkReady(body []byte) error {
	name, data, ok := splitCommand(body)
	switch {
	case ok && string(name) == "ERROR":
		return ErrRejected
	case !ok || string(name) != "READY":
		return ErrMalformed
	}
	kind, err := socketType(data)
	if err != nil {
		return err
	}
	if !c.socket.accepts(kind) {
		return ErrWrongPort
	}
	return nil
}

// readMore reads into the rest of the buffer.
func (c *Conn) readMore() error {
	n, err := c.conn.Read(c.in[c.w:])
	c.w += n
	if n > 0 {
		return nil
	}
	return err
}

// readyError turns the end of a connection into ErrWrongPort: libzmq closes it as
// soon as it knows that the socket types do not fit.
func readyError(err error) error {
	if isEnd(err) {
		return ErrWrongPort
	}
	return err
}

func greetingError(err error) error {
	if isEnd(err) {
		return ErrGreeting
	}
	return err
}

// contextError returns the fixed error for a context that has ended.
func contextError(ctx context.Context) error {
	if ctx.Err() == context.Canceled {
		return ErrClosed
	}
	return ErrHandshakeTimeout
}

// handshakeError returns the fixed error for any error of the handshake.
func handshakeError(err error) error {
	switch {
	case isTimeout(err):
		return ErrHandshakeTimeout
	case isFixed(err):
		return err
	}
	return ErrEnded
}
