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
	// maxWaitingConns bounds the connections of a Listener that no subscription
	// uses; further ones are closed at once.
	maxWaitingConns = 1024
	// maxTopic bounds the topic of a publisher that connects to us, in bytes.
	maxTopic = 1024
)

// topicPrefix begins the topics of llm-d's publishers.
var topicPrefix = []byte("kv@")

// inbound is a connection that a publisher opened, or that a subscription dialled.
type inbound struct {
	conn  Conn
	first [][]byte // the message that named the publisher; nil: none
}

// Listener accepts publishers that connect to us, as vLLM does when its
// endpoint is an address without a wildcard, and llm-d's simulator always.
//
// A publisher names itself in its topic: kv@ADDRESS@MODEL, where ADDRESS is the
// upstream's, or only its host if that has one engine. A connection waits while
// its topic names no followed publisher. A new connection of a publisher replaces
// the old one, since it has most likely been restarted. So any peer can claim to be
// any engine: the port is for trusted networks only, like the engines' own.
type Listener struct {
	subscriber *Subscriber
	listener   net.Listener
	rank       int
	options    zmtp.Options
	ctx        context.Context
	stop       context.CancelFunc
	running    sync.WaitGroup
	numWaiting atomic.Int64

	refused, unknown atomic.Uint64

	mu        sync.Mutex
	unclaimed budget // of the connections that wait, guarded by mu
}

// ListenerStats counts waiting and refused connections, and messages of unknown
// publishers.
type ListenerStats struct {
	Waiting int    // connections that no subscription uses now
	Refused uint64 // connections over the limit, or of another protocol
	Unknown uint64 // messages whose topic names no followed publisher
}

// NewListener accepts the publishers of one rank at l for a Subscriber: engines add
// their rank to the port that they connect to. The Listener owns l.
func NewListener(s *Subscriber, l net.Listener, rank int) *Listener {
	n := &Listener{
		subscriber: s, listener: l, rank: rank, options: connOptions(),
		unclaimed: budget{divisor: unclaimedDivisor, burst: unclaimedBurst},
	}
	n.ctx, n.stop = context.WithCancel(s.ctx)
	n.running.Go(n.accept)
	return n
}

// Close stops accepting, closes the connections that wait and waits for their
// end. Connections of subscriptions stay.
func (n *Listener) Close() {
	n.stop()
	_ = n.listener.Close()
	n.running.Wait()
}

// Stats returns the counts so far.
func (n *Listener) Stats() ListenerStats {
	return ListenerStats{Waiting: int(n.numWaiting.Load()), Refused: n.refused.Load(), Unknown: n.unknown.Load()}
}

// accept accepts connections until the Listener or the Subscriber is closed.
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
			n.pause(reconnectFirst) // most likely out of file descriptors
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

// serve shakes hands and keeps a connection until a subscription takes it.
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

// awaitSubscription receives until a message names a followed publisher. It returns
// false when the connection ends before.
func (n *Listener) awaitSubscription(conn Conn) bool {
	stop := context.AfterFunc(n.ctx, func() { _ = conn.Close() })
	defer func() { stop() }()
	for {
		var m zmtp.Message // the subscription keeps the first one
		if conn.ReceiveUntil(&m, time.Time{}) != nil {
			return false
		}
		if address, ok := addressOf(m.Parts); ok {
			if !stop() {
				return false
			}
			if n.subscriber.assign(address, n.rank, &inbound{conn, m.Parts}) {
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

// charge charges a message of a waiting connection to the budget of all of them,
// and returns a pause. The connection is not read meanwhile: an engine that is not
// followed loses nothing by that.
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

// addressOf returns the address in a message's topic.
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
