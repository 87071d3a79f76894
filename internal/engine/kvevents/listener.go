// SPDX-License-Identifier: Apache-2.0

package kvevents

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/engine/zmtp"
)

const (
	// maxPeers is how many connections a Listener has that no follower has
	// taken over; further ones are closed at once.
	maxWaitingConns = 1024
	// maxTopic is how long the topic of a publisher that connects to us may
	// be, in bytes.
	maxTopic = 1024
)

// topicPrefix is what llm-d's publishers begin their topics with.
var topicPrefix = []byte("kv@")

// accepted is a connection that a publisher opened.
type inbound struct {
	conn  Conn
	first [][]byte // the message that told whose it is; nil: none
}

// Listener accepts publishers that connect to us, as vLLM does when its
// endpoint is an address without a wildcard, and llm-d's simulator always.
//
// Who a publisher is, its topic says: kv@ADDRESS@MODEL, where ADDRESS is the
// upstream's, or only its host if it has one engine. A connection waits without
// a follower while its topic names nobody that is followed. One that names a
// publisher with a connection takes its place, since it has most likely been
// restarted. So whoever can connect can claim to be any engine: the port is for
// trusted networks only, like the engines' own.
type Listener struct {
	set        *Subscriber
	listener   net.Listener
	rank       int
	options    zmtp.Options
	ctx        context.Context
	stop       context.CancelFunc
	running    sync.WaitGroup
	numWaiting atomic.Int64

	refused, unknown atomic.Uint64

	mu        sync.Mutex
	unclaimed budget // of those that wait, under mu
}

// ListenerStats are counts of what a Listener turned away.
type ListenerStats struct {
	Waiting int    // connections that belong to no follower now
	Refused uint64 // connections that were one too many, or speak something else
	Unknown uint64 // messages whose topic names nobody that is followed, or is none
}

// NewListener accepts the publishers of one rank at l, for a Set to follow:
// engines add the rank to the port they connect to. It owns l.
func NewListener(s *Subscriber, l net.Listener, rank int) *Listener {
	n := &Listener{
		set: s, listener: l, rank: rank, options: connOptions(),
		unclaimed: budget{divisor: unclaimedDivisor, burst: unclaimedBurst},
	}
	n.ctx, n.stop = context.WithCancel(s.ctx)
	n.running.Go(n.accept)
	return n
}

// Close stops accepting, closes the connections that wait and waits for their
// end. Those that are followed stay.
func (n *Listener) Close() {
	n.stop()
	_ = n.listener.Close()
	n.running.Wait()
}

// Stats returns what was turned away so far.
func (n *Listener) Stats() ListenerStats {
	return ListenerStats{Waiting: int(n.numWaiting.Load()), Refused: n.refused.Load(), Unknown: n.unknown.Load()}
}

// accept accepts until the listener or the set is closed.
func (n *Listener) accept() {
	stop := context.AfterFunc(n.ctx, func() { _ = n.listener.Close() })
	defer stop()
	for {
		conn, err := n.listener.Accept()
		switch {
		case n.ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			if err == nil {
				_ = conn.Close()
			}
			return
		case err != nil:
			n.pause(reconnectFirst) // out of file descriptors, most likely
		case n.numWaiting.Add(1) > maxWaitingConns:
			n.numWaiting.Add(-1)
			n.refused.Add(1)
			_ = conn.Close()
		default:
			n.running.Go(func() {
				defer n.numWaiting.Add(-1)
				n.serve(conn)
			})
		}
	}
}

func (n *Listener) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-n.ctx.Done():
	}
}

// meet shakes hands and waits with a connection until it can be followed.
func (n *Listener) serve(c net.Conn) {
	conn, err := zmtp.Handshake(n.ctx, c, zmtp.SUB, n.options)
	if err != nil || conn.Subscribe(nil) != nil {
		n.refused.Add(1)
		_ = c.Close()
		return
	}
	if !n.awaitSubscription(conn) {
		_ = conn.Close()
	}
}

// wait receives until a message names somebody who is followed. It is false
// when the connection has ended before.
func (n *Listener) awaitSubscription(conn Conn) bool {
	stop := context.AfterFunc(n.ctx, func() { _ = conn.Close() })
	defer func() { stop() }()
	for {
		var m zmtp.Message // the follower keeps the one with which it begins
		if conn.ReceiveUntil(&m, time.Time{}) != nil {
			return false
		}
		if address, ok := addressOf(m.Parts); ok {
			if !stop() {
				return false
			}
			if n.set.assign(address, n.rank, &inbound{conn, m.Parts}) {
				return true
			}
			stop = context.AfterFunc(n.ctx, func() { _ = conn.Close() })
		}
		n.unknown.Add(1)
		if d := n.charge(m.Parts); d > 0 {
			n.pause(d)
		}
	}
}

// charge takes what a message has cost that nobody wanted off what all who wait
// may take, and returns how long to rest for it. It is not read on meanwhile: an
// engine that nobody follows yet loses nothing by that.
func (n *Listener) charge(parts [][]byte) time.Duration {
	cost := 2 * receiveBatchCost
	for _, p := range parts {
		cost += time.Duration(len(p)) * receiveByteCost
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	debt := min(n.unclaimed.charge(cost, time.Now()), unclaimedMaxDebt)
	n.unclaimed.debt = debt
	if debt < minPause {
		return 0
	}
	return unclaimedDivisor * debt
}

// addressOf takes the address out of a message's topic.
func addressOf(parts [][]byte) (string, bool) {
	if len(parts) != 3 || len(parts[0]) > maxTopic {
		return "", false
	}
	rest, ok := bytes.CutPrefix(parts[0], topicPrefix)
	if !ok {
		return "", false
	}
	address, _, ok := bytes.Cut(rest, []byte("@"))
	return string(address), ok && len(address) > 0
}
