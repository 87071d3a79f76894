// SPDX-License-Identifier: Apache-2.0

// Package zmtp is the client side of ZeroMQ's wire protocol, as much of it as
// it takes to follow an engine's events and to ask for those that were missed:
// ZMTP 3.0 and 3.1 (rfc.zeromq.org/spec/23 and /spec/37) without security, a
// SUB that hears a PUB and a DEALER that asks a ROUTER, dialled or accepted.
//
// The peer is not trusted. What it announces costs nothing, only what it has
// sent: memory grows with the bytes that have arrived, up to fixed bounds, and
// is let go again. What it delays is cut off: a handshake by a deadline, a
// message by a rate it must keep, silence by heartbeats. No text of its gets
// into an error.
//
// A Conn has no goroutine and no timer of its own. Heartbeats are sent and
// answered inside Receive, so somebody should always be in it.
package zmtp
