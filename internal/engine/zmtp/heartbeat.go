// SPDX-License-Identifier: Apache-2.0

package zmtp

import "time"

const (
	// maxCommands is how many commands may come within one Ping.
	maxCommands = 1000
	// mismatchWait: a peer that closes within this after the handshake,
	// without a byte, has not liked our socket's type.
	mismatchWait = time.Second
)

// ping has no time to live and no context: what the peer shall do when we are
// gone is its own affair.
var ping = appendFrame(nil, flagCommand, []byte("\x04PING\x00\x00"))

// heartbeat keeps the times of a connection. They are sums of what Read has
// waited, so a caller who is busy elsewhere does not make the peer late.
type heartbeat struct {
	quiet        time.Duration // waited since the last byte
	messageTime  time.Duration // waited for the message or command under way
	pings        int           // sent since the last byte
	received     bool          // a byte has come since the handshake
	gotPong      bool          // a PONG has
	off          bool          // no PINGs any more
	countedSince time.Time     // since when commands counts
	numCommands  int           // commands since then
	// mayBeDeaf: ZMTP 3.0 has no heartbeats. libzmq 4.2 answers them all the
	// same, others do not, and must not be taken for dead.
	optional bool
}

// wait returns how long Read may wait until there is something to do; forever
// is false when there is nothing.
func (b *heartbeat) wait(o *Options, underWay bool, arrived int) (d time.Duration, forever bool) {
	if b.off {
		forever = true
	} else {
		d = min(time.Duration(b.pings+1)*o.Ping, o.Idle) - b.quiet
	}
	if underWay {
		left := allowed(o, arrived) - b.messageTime
		if forever || left < d {
			return left, false
		}
	}
	return d, forever
}

// allowed is how long a message may take of which so much has arrived.
func allowed(o *Options, arrived int) time.Duration {
	return o.Idle + time.Duration(arrived)*time.Second/time.Duration(o.MinRate)
}

// waited notes how long Read has waited, and whether bytes came of it.
func (b *heartbeat) waited(d time.Duration, bytes, underWay bool) {
	if underWay {
		b.messageTime += d
	}
	if bytes {
		b.quiet, b.pings, b.received = 0, 0, true
	} else {
		b.quiet += d
	}
}

// late is called when Read has waited long enough. It tells whether a PING is
// due, or what the peer has failed to do.
func (b *heartbeat) timeout(o *Options, underWay bool, arrived int) (ping bool, err error) {
	switch {
	case underWay && b.messageTime >= allowed(o, arrived):
		return false, ErrSlow
	case b.off:
		return false, nil
	case b.quiet >= o.Idle && b.optional && !b.gotPong:
		b.off = true // left to TCP's keep-alive
		return false, nil
	case b.quiet >= o.Idle:
		return false, ErrSilent
	case b.quiet >= time.Duration(b.pings+1)*o.Ping:
		b.pings++
		return true, nil
	}
	return false, nil
}

// count counts a command, and tells whether there are too many.
func (b *heartbeat) count(o *Options) error {
	if b.numCommands == 0 {
		b.countedSince = time.Now()
	}
	b.numCommands++
	if b.numCommands < maxCommands {
		return nil
	}
	if time.Since(b.countedSince) < o.Ping {
		return ErrFlood
	}
	b.numCommands = 0
	return nil
}
