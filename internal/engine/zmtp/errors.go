// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// Errors of connecting. None of them says more than its text.
var (
	// ErrRefused: nothing listens at the address.
	ErrRefused = errors.New("the connection was refused")
	// ErrUnreachable: no connection, for whatever other reason.
	ErrUnreachable = errors.New("the address was not reached")
	// ErrHandshakeTimeout: the peer did not introduce itself in time.
	ErrHandshakeTimeout = errors.New("the handshake took too long")
	// ErrForeign: what the peer sent is not ZMTP 3.
	ErrForeign = errors.New("the peer does not speak ZMTP 3")
	// ErrSecurity: the peer wants PLAIN, CURVE or GSSAPI.
	ErrSecurity = errors.New("the peer wants a ZeroMQ security mechanism, and only NULL is supported")
	// ErrGreeting: the peer closed the connection before it had greeted, as
	// libzmq does when it wants a security mechanism.
	ErrGreeting = errors.New("the peer closed the connection at the greeting: it may want a ZeroMQ security mechanism, and only NULL is supported")
	// ErrRejected: the peer answered the handshake with an ERROR command.
	ErrRejected = errors.New("the peer rejected the handshake")
	// ErrWrongPort: the peer's socket is of another type than wanted, or it
	// closed the connection when it saw the type of ours.
	ErrWrongPort = errors.New("the peer is a ZeroMQ socket of another type: this may be the wrong port")
)

// Errors of a connection. After any of them but ErrDeadline and ErrUse it is
// closed, and every further call gives the same error.
var (
	// ErrDeadline: no message came until the time given. The connection stays
	// as it is, with what has arrived of the next message.
	ErrDeadline = errors.New("no message came in time")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("the connection was closed here")
	// ErrEnded: the peer closed the connection, or it broke.
	ErrEnded = errors.New("the connection ended")
	// ErrSilent: the peer answers no heartbeats any more.
	ErrSilent = errors.New("the peer fell silent")
	// ErrSlow: a message arrived more slowly than it may.
	ErrSlow = errors.New("a message arrived too slowly")
	// ErrStalled: the peer did not take in what was sent.
	ErrStalled = errors.New("the peer does not read")
	// ErrTooLarge: a frame, a message or a command is larger than it may be.
	ErrTooLarge = errors.New("a message is too large")
	// ErrTooManyParts: a message has more frames than it may have.
	ErrTooManyParts = errors.New("a message has too many parts")
	// ErrMalformed: the peer broke the protocol.
	ErrMalformed = errors.New("the peer broke the protocol")
	// ErrFlood: the peer sent commands without end.
	ErrFlood = errors.New("the peer sent too many commands")
	// ErrMemory: the budget for messages under way is used up.
	ErrMemory = errors.New("messages under way take too much memory")
	// ErrUse: the call does not fit the socket's type or the limits.
	ErrUse = errors.New("the socket cannot send this")
)

// dialError gives the fixed error for one of package net.
func dialError(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return ErrRefused
	case ctx.Err() == context.Canceled:
		return ErrClosed
	}
	return ErrUnreachable
}

// isTimeout tells whether a deadline has passed.
func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// isEnd tells whether the peer has closed the connection, in good order or by
// a reset.
func isEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, io.ErrClosedPipe) && !errors.Is(err, net.ErrClosed)
}

// isFixed tells whether an error of the handshake is one of this package.
func isFixed(err error) bool {
	switch err {
	case ErrHandshakeTimeout, ErrForeign, ErrSecurity, ErrGreeting, ErrRejected, ErrWrongPort, ErrClosed, ErrMalformed, ErrTooLarge:
		return true
	}
	return false
}
