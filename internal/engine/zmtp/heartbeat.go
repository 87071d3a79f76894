// SPDX-License-Identifier: Apache-2.0

package zmtp

import "time"

const (
	// maxCommands bounds the commands within one Options.Ping.
	maxCommands = 1000
	// mismatchWait follows the handshake: a peer that closes within it, without a
	// byte, has rejected our socket's type.
	mismatchWait = time.Second
)

// ping has no time to live and no context: the peer may keep a dead connection as
// long as it likes.
var ping = appendFrame(nil, flagCommand, []byte("\x04PING\x00\x00"))

// heartbeat keeps the times of a connection. Only waits in Read count, so a busy
// caller does not make the peer late.
type heartbeat struct {
	quiet        time.Duration // waited since the last byte
	messageTime  time.Duration // waited for the message or command under way
	pings        int           // sent since the last byte
	received     bool          // a byte came after the handshake
	gotPong      bool          // a PONG came
	off          bool          // no PINGs are sent any more
	countedSince time.Time     // of numCommands
	numCommands  int
	// optional: the peer speaks ZMTP 3.0, which has no heartbeats. libzmq 4.2
	// answers them all the same; others do not, and are not dead.
	optional bool
}

// wait returns the longest wait of Read; forever is true when it has no limit.
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

// allowed returns the time for a message, by its bytes that have arrived.
func allowed(o *Options, arrived int) time.Duration {
	return o.Idle + time.Duration(arrived)*time.Second/time.Duration(o.MinRate)
}

// waited adds a wait of Read, which has returned bytes or not.
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

// timeout is called when Read has waited long enough. It reports whether a PING is
// due, or the failure of the peer.
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

// count counts a command, and returns an error when there are too many.
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
