// SPDX-License-Identifier: Apache-2.0

// Package zmtp is the client side of ZeroMQ's wire protocol, as far as it takes to
// follow an engine's events and to ask for missed ones: ZMTP 3.0 and 3.1
// (rfc.zeromq.org/spec/23 and /spec/37) without security, with a SUB that receives
// from a PUB and a DEALER that asks a ROUTER, dialled or accepted.
//
// The peer is not trusted. Memory grows only with the bytes that have arrived, not
// with announced sizes, up to fixed bounds, and is released again. A slow peer is
// cut off: a handshake has a deadline, a message must keep a rate, and heartbeats
// detect silence. No error quotes the peer.
//
// A Conn has no goroutine and no timer of its own. It sends and answers heartbeats
// inside Receive, so some goroutine should always be in it.
//
// handshake_test.go covers dialling, greetings and READY, hostile_test.go the limits,
// message memory and the budget, fuzz_test.go all of parsing against a model. The
// tests' peer is in peer_test.go.
package zmtp
