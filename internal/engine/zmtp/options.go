// SPDX-License-Identifier: Apache-2.0

package zmtp

import "time"

// Socket is the type of our side.
type Socket string

// The types there are.
const (
	SUB    Socket = "SUB"    // hears a PUB or XPUB
	DEALER Socket = "DEALER" // asks a ROUTER
)

// hears tells whether a socket of type peer is one for s to talk to.
func (s Socket) accepts(peer string) bool {
	switch s {
	case SUB:
		return peer == "PUB" || peer == "XPUB"
	case DEALER:
		return peer == "ROUTER"
	}
	return false
}

// Options bound what a peer can cost. Zero fields mean the defaults.
type Options struct {
	// MaxFrame is the size of a frame in bytes, 64 MiB by default. The largest
	// event of a known engine, a store of 128k tokens, is below 1 MiB.
	MaxFrame int
	// MaxMessage is the size of all frames of a message together, in bytes;
	// 64 MiB by default.
	MaxMessage int
	// MaxParts is the number of frames of a message, 8 by default.
	MaxParts int
	// Budget is shared by connections and bounds what the messages under way
	// on all of them take. Nil: only the bounds of each connection hold.
	Budget *Budget

	// HandshakeTimeout is for all of Dial and for all of Handshake, 5 s by
	// default.
	HandshakeTimeout time.Duration
	// WriteTimeout is how long the peer may let a single write wait, 5 s by
	// default.
	WriteTimeout time.Duration
	// Ping is how long the peer may be silent before it is sent a heartbeat,
	// and between two of them; 10 s by default.
	Ping time.Duration
	// Idle is how long the peer may be silent at all, 30 s by default. It is
	// also how long a message may take without having to keep MinRate.
	Idle time.Duration
	// MinRate is how fast a message must arrive, in bytes a second, once it
	// has taken longer than Idle: it has Idle plus its bytes so far at this
	// rate. 32 KiB/s by default.
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
