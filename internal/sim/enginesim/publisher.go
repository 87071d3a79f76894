// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"sync"
	"time"
)

// publisher has a rank's two sockets: a PUB for live events and, if configured, a
// ROUTER for replays.
type publisher struct {
	cfg    EventsConfig
	topic  []byte // set before anything is published
	faults *faultList

	pub, router peers

	mu          sync.Mutex
	next        uint64  // sequence number of the next batch
	kept        []batch // for replay, oldest first
	subscribers map[*subscriber]struct{}
}

type batch struct {
	sequence uint64
	payload  []byte
}

func newPublisher(cfg EventsConfig, faults *faultList) *publisher {
	p := &publisher{cfg: cfg, topic: []byte(cfg.Topic), faults: faults, next: cfg.FirstSequence, subscribers: make(map[*subscriber]struct{})}
	p.pub.serve, p.router.serve = p.servePub, p.serveRouter
	return p
}

// publish numbers a batch, keeps it for replay and sends it to the subscribers of
// its topic. It never waits for a subscriber.
func (p *publisher) publish(payload []byte) {
	if _, hit := p.faults.take(GarbleEvents); hit {
		payload = garbage(payload)
	}
	_, lost := p.faults.take(LoseEvents)
	_, dropped := p.faults.take(DropEvents)

	p.mu.Lock()
	defer p.mu.Unlock()
	b := batch{p.next, payload}
	p.next++
	if lost {
		return
	}
	if p.kept = append(p.kept, b); len(p.kept) > p.cfg.BufferSteps {
		p.kept[0] = batch{}
		p.kept = p.kept[1:]
	}
	if dropped {
		return
	}
	var wire []byte
	for s := range p.subscribers {
		if !s.matches(p.topic) {
			continue
		}
		if wire == nil {
			wire = encodeMessage(p.topic, binary.BigEndian.AppendUint64(nil, b.sequence), b.payload)
		}
		s.queue.put(wire, false)
	}
}

// garbage returns undecodable bytes of a payload's length.
func garbage(payload []byte) []byte {
	out := bytes.Clone(payload)
	for i := range out {
		out[i] ^= 0x5a
	}
	out[0] = 0xc1 // a code that MessagePack never uses
	return out
}

// subscriber is one connection to the PUB socket.
type subscriber struct {
	queue    *pipe
	prefixes [][]byte // one entry for each subscription, equal ones included
}

// matches reports whether the peer has subscribed to a topic. The publisher's lock
// guards it.
func (s *subscriber) matches(topic []byte) bool {
	for _, prefix := range s.prefixes {
		if bytes.HasPrefix(topic, prefix) {
			return true
		}
	}
	return false
}

func (p *publisher) servePub(ctx context.Context, conn net.Conn) {
	z, err := zmtpHandshake(conn, "PUB", "SUB", "XSUB")
	if err != nil {
		return
	}
	s := &subscriber{queue: newPipe(p.cfg.HWM)}
	p.mu.Lock()
	p.subscribers[s] = struct{}{}
	p.mu.Unlock()
	var writing sync.WaitGroup
	writing.Go(func() { p.drain(ctx, z, s.queue) })
	for ctx.Err() == nil {
		command, parts, err := z.receive()
		if err != nil || !p.faults.pause(ctx, HangEvents) {
			break
		}
		p.subscribe(s, command, parts)
	}
	p.mu.Lock()
	delete(p.subscribers, s)
	p.mu.Unlock()
	s.queue.close()
	_ = conn.Close() // wakes a writer that is blocked on the peer
	writing.Wait()
}

// subscribe handles both forms: a message that begins with 1 or 0 (ZMTP 3.0), and
// the commands of ZMTP 3.1.
func (p *publisher) subscribe(s *subscriber, command string, parts [][]byte) {
	prefix, on := parts[0], command == "SUBSCRIBE"
	switch {
	case command == "" && len(parts) == 1 && len(prefix) > 0 && prefix[0] <= 1:
		prefix, on = prefix[1:], prefix[0] == 1
	case command != "SUBSCRIBE" && command != "CANCEL":
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if on {
		s.prefixes = append(s.prefixes, prefix)
		return
	}
	for i := range s.prefixes {
		if bytes.Equal(s.prefixes[i], prefix) {
			s.prefixes = append(s.prefixes[:i], s.prefixes[i+1:]...)
			return
		}
	}
}

// drain writes the queued messages to a peer until either is closed.
func (p *publisher) drain(ctx context.Context, z *zmtpConn, queue *pipe) {
	defer z.Close()     // ends the reader as well,
	defer queue.close() // also one that waits for room
	for {
		message, ok := queue.take()
		if !ok || !p.faults.pause(ctx, HangEvents) {
			return
		}
		if f, hit := p.faults.take(SlowEvents); hit {
			select {
			case <-time.After(f.Delay):
			case <-ctx.Done():
				return
			}
		}
		if z.write(message) != nil {
			return
		}
	}
}

// restart begins like a new process: with the first number and nothing to replay.
func (p *publisher) restart() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next, p.kept = p.cfg.FirstSequence, nil
}

// forget empties the replay buffer.
func (p *publisher) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept = nil
}

func (p *publisher) drop() {
	p.pub.drop()
	p.router.drop()
}

func (p *publisher) close() {
	p.pub.close()
	p.router.close()
}
