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

// Errors of connecting. Their texts are fixed.
var (
	// ErrRefused: nothing listens at the address.
	ErrRefused = errors.New("the connection was refused")
	// ErrUnreachable: no connection for any other reason.
	ErrUnreachable = errors.New("the address was not reached")
	// ErrHandshakeTimeout: the peer did not introduce itself in time.
	ErrHandshakeTimeout = errors.New("the handshake took too long")
	// ErrForeign: the peer sent something else than ZMTP 3.
	ErrForeign = errors.New("the peer does not speak ZMTP 3")
	// ErrSecurity: the peer wants PLAIN, CURVE or GSSAPI.
	ErrSecurity = errors.New("the peer wants a ZeroMQ security mechanism, and only NULL is supported")
	// ErrGreeting: the peer closed the connection before its greeting, as libzmq
	// does when it wants a security mechanism.
	ErrGreeting = errors.New("the peer closed the connection at the greeting: it may want a ZeroMQ security mechanism, and only NULL is supported")
	// ErrRejected: the peer answered the handshake with an ERROR command.
	ErrRejected = errors.New("the peer rejected the handshake")
	// ErrWrongPort: the peer's socket has another type than wanted, or the peer
	// closed the connection when it saw ours.
	ErrWrongPort = errors.New("the peer is a ZeroMQ socket of another type: this may be the wrong port")
)

// Errors of a connection. Any of them but ErrDeadline and ErrUse closes it, and
// every further call returns the same error.
var (
	// ErrDeadline: no message came until the deadline. The connection stays open,
	// and keeps the part of a message that has arrived.
	ErrDeadline = errors.New("no message came in time")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("the connection was closed here")
	// ErrEnded: the peer closed the connection, or it broke.
	ErrEnded = errors.New("the connection ended")
	// ErrSilent: the peer does not answer heartbeats any more.
	ErrSilent = errors.New("the peer fell silent")
	// ErrSlow: a message arrived more slowly than Options.MinRate allows.
	ErrSlow = errors.New("a message arrived too slowly")
	// ErrStalled: the peer did not read what was sent.
	ErrStalled = errors.New("the peer does not read")
	// ErrTooLarge: a frame, a message or a command exceeds its limit.
	ErrTooLarge = errors.New("a message is too large")
	// ErrTooManyParts: a message has more than Options.MaxParts frames.
	ErrTooManyParts = errors.New("a message has too many parts")
	// ErrMalformed: the peer broke the protocol.
	ErrMalformed = errors.New("the peer broke the protocol")
	// ErrFlood: the peer sent too many commands at once.
	ErrFlood = errors.New("the peer sent too many commands")
	// ErrMemory: the budget for messages under way is used up.
	ErrMemory = errors.New("messages under way take too much memory")
	// ErrUse: the call does not fit the socket's type or the limits.
	ErrUse = errors.New("the socket cannot send this")
)

// dialError returns the fixed error for one of package net.
func dialError(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return ErrRefused
	case ctx.Err() == context.Canceled:
		return ErrClosed
	}
	return ErrUnreachable
}

// isTimeout reports whether a deadline has passed.
func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// isEnd reports whether the peer has closed the connection, by a reset or not.
func isEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, io.ErrClosedPipe) && !errors.Is(err, net.ErrClosed)
}

// isFixed reports whether an error of the handshake is one of this package.
func isFixed(err error) bool {
	switch err {
	case ErrHandshakeTimeout, ErrForeign, ErrSecurity, ErrGreeting, ErrRejected, ErrWrongPort, ErrClosed, ErrMalformed, ErrTooLarge:
		return true
	}
	return false
}
