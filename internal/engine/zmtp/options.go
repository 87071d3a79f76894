// SPDX-License-Identifier: Apache-2.0

package zmtp

import "time"

// Socket is the type of our socket.
type Socket string

// The types of sockets.
const (
	SUB    Socket = "SUB"    // receives from a PUB or XPUB
	DEALER Socket = "DEALER" // asks a ROUTER
)

// accepts reports whether s can talk to a socket of type peer.
func (s Socket) accepts(peer string) bool {
	switch s {
	case SUB:
		return peer == "PUB" || peer == "XPUB"
	case DEALER:
		return peer == "ROUTER"
	}
	return false
}

// Options bound the cost of a peer. Zero fields mean the defaults.
type Options struct {
	// MaxFrame is the size of a frame in bytes, 64 MiB by default. The largest
	// event of a known engine, a store of 128k tokens, is below 1 MiB.
	MaxFrame int
	// MaxMessage is the size of all frames of a message together, in bytes;
	// 64 MiB by default.
	MaxMessage int
	// MaxParts is the number of frames of a message, 8 by default.
	MaxParts int
	// Budget bounds the messages under way on all connections that share it. Nil:
	// only the limits of each connection hold.
	Budget *Budget

	// HandshakeTimeout bounds Dial and Handshake, 5 s by default.
	HandshakeTimeout time.Duration
	// WriteTimeout bounds a single write, 5 s by default.
	WriteTimeout time.Duration
	// Ping is the silence of the peer before each heartbeat, 10 s by default.
	Ping time.Duration
	// Idle is the silence that ends the connection, 30 s by default. A message may
	// also take that long without keeping MinRate.
	Idle time.Duration
	// MinRate is the slowest rate of a message in bytes a second, 32 KiB/s by
	// default: it may take Idle plus the time of its bytes so far at this rate.
	MinRate int
}

func (o Options) withDefaults() Options {
	setDefault(&o.MaxFrame, 64<<20)
	setDefault(&o.MaxMessage, 64<<20)
	setDefault(&o.MaxParts, 8)
	setDefault(&o.HandshakeTimeout, 5*time.Second)
	setDefault(&o.WriteTimeout, 5*time.Second)
	setDefault(&o.Ping, 10*time.Second)
	setDefault(&o.Idle, 30*time.Second)
	setDefault(&o.MinRate, 32<<10)
	return o
}

func setDefault[T int | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}
