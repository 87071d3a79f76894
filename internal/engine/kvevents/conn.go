// SPDX-License-Identifier: Apache-2.0

package kvevents

import (
	"context"
	"encoding/binary"
	"math"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/engine/zmtp"
)

// Conn is a connection to a publisher: a zmtp.Conn, or a fake. Close may be called
// at any time and ends a call that waits.
type Conn interface {
	Subscribe(topic []byte) error
	Send(parts ...[]byte) error
	ReceiveUntil(m *zmtp.Message, deadline time.Time) error
	Close() error
}

// Dial connects to host:port.
type Dial func(ctx context.Context, address string, s zmtp.Socket) (Conn, error)

// dialZMTP returns a Dial whose connections share the limits of o.
func dialZMTP(o zmtp.Options) Dial {
	return func(ctx context.Context, address string, s zmtp.Socket) (Conn, error) {
		c, err := zmtp.Dial(ctx, address, s, o)
		if err != nil {
			return nil, err // not a Conn that holds a nil pointer
		}
		return c, nil
	}
}

// connOptions returns the limits of a Subscriber's connections.
func connOptions() zmtp.Options {
	return zmtp.Options{MaxFrame: maxMessage, MaxMessage: maxMessage, Budget: zmtp.NewBudget(messageBudget)}
}

// endOfHistory is the sequence number of the message that ends a replay.
const endOfHistory = math.MaxUint64

// message is a batch that is not decoded yet.
type message struct {
	seq     uint64
	payload []byte
}

// end reports whether the message ends a replay.
func (m message) end() bool { return m.seq == endOfHistory || len(m.payload) == 0 }

// liveMessage reads a message of the live stream: topic, sequence number, batch.
// The payload is part of the frames.
func liveMessage(parts [][]byte) (message, bool) {
	if len(parts) != 3 {
		return message{}, false
	}
	m, ok := numbered(parts[1], parts[2])
	return m, ok && !m.end()
}

// replayMessage reads a message of a replay: an empty frame, the topic (since vLLM
// 0.26), sequence number, batch. The topic may be empty too, so only the first
// empty frame is the delimiter.
func replayMessage(parts [][]byte) (message, bool) {
	if len(parts) > 2 && len(parts[0]) == 0 {
		parts = parts[1:]
	}
	if len(parts) == 3 {
		parts = parts[1:]
	}
	if len(parts) != 2 {
		return message{}, false
	}
	return numbered(parts[0], parts[1])
}

func numbered(seq, payload []byte) (message, bool) {
	if len(seq) != 8 {
		return message{}, false
	}
	return message{binary.BigEndian.Uint64(seq), payload}, true
}

// replayRequest returns the frames that ask for history from a sequence number on.
func replayRequest(from uint64) [][]byte {
	return [][]byte{{}, binary.BigEndian.AppendUint64(nil, from)}
}

var _ Conn = (*zmtp.Conn)(nil)
