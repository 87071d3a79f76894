// SPDX-License-Identifier: Apache-2.0

package kvevents

import (
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"math"
	"sync"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/engine/zmtp"
)

var errRefused = errors.New("refused")

// fakePublisher is an engine's publisher with a history, and with faults that a test
// sets.
type fakePublisher struct {
	mu      sync.Mutex
	base    uint64            // number of this process's first batch
	batches [][]byte          // of this process
	keep    int               // batches of history; 0: all
	blocks  map[uint64]uint64 // copies of each block the engine holds: the truth
	live    []*fakeConn

	refuse, refuseReplay bool
	loseLive             int                      // number of live messages to lose, from the next on
	topic                string                   // of live messages
	old                  bool                     // replies without the topic's frame
	noEnd                bool                     // no mark at the end of replies
	replayed             func(i int, m *msg) bool // false: message i of a reply is lost
	asked                []uint64                 // numbers that history was asked from
	onRequest            func(p *fakePublisher)   // called before a reply, unlocked
	dialled              int
	sent                 int // batches, up to the last that was sent live
}

type msg = [][]byte

func newFakePublisher() *fakePublisher { return &fakePublisher{blocks: map[uint64]uint64{}} }

// fakeConn is a connection to a fakePublisher.
type fakeConn struct {
	publisher *fakePublisher
	messages  chan msg
	closed    chan struct{}
	once      sync.Once
	broken    error
}

func newFakeConn(p *fakePublisher) *fakeConn {
	return &fakeConn{publisher: p, messages: make(chan msg, 1<<15), closed: make(chan struct{})}
}

func (c *fakeConn) fail(err error) {
	c.once.Do(func() {
		c.broken = err
		close(c.closed)
	})
}

func (c *fakeConn) Close() error           { c.fail(zmtp.ErrClosed); return nil }
func (c *fakeConn) Subscribe([]byte) error { return nil }

func (c *fakeConn) ReceiveUntil(m *zmtp.Message, deadline time.Time) error {
	select {
	case got := <-c.messages: // messages come before the end
		m.Parts = got
		return nil
	default:
	}
	var late <-chan time.Time
	if !deadline.IsZero() {
		timer := time.NewTimer(time.Until(deadline))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case got := <-c.messages:
		m.Parts = got
		return nil
	case <-c.closed:
		return c.broken
	case <-late:
		return zmtp.ErrDeadline
	}
}

// Send takes a request for history.
func (c *fakeConn) Send(parts ...[]byte) error {
	if len(parts) != 2 || len(parts[0]) != 0 || len(parts[1]) != 8 {
		return errors.New("no request")
	}
	p := c.publisher
	if p.onRequest != nil {
		p.onRequest(p)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	from := binary.BigEndian.Uint64(parts[1])
	p.asked = append(p.asked, from)
	n := 0
	reply := func(seq uint64, payload []byte) {
		m := msg{{}, []byte(p.topic), binary.BigEndian.AppendUint64(nil, seq), payload}
		if seq == math.MaxUint64 {
			m[1] = []byte{}
		}
		if p.old {
			m = msg{m[0], m[2], m[3]}
		}
		if p.replayed == nil || p.replayed(n, &m) {
			c.messages <- m
		}
		n++
	}
	for i, payload := range p.batches {
		if seq := p.base + uint64(i); seq >= from && (p.keep == 0 || i >= len(p.batches)-p.keep) {
			reply(seq, payload)
		}
	}
	if !p.noEnd {
		reply(math.MaxUint64, nil)
	}
	return nil
}

// publish adds a batch and sends it to all connections.
func (p *fakePublisher) publish(events ...any) { p.publishRaw(batchOf(events...)) }

func (p *fakePublisher) publishRaw(payload []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	seq := p.base + uint64(len(p.batches))
	p.batches = append(p.batches, payload)
	if p.loseLive > 0 {
		p.loseLive--
		return
	}
	p.sent = len(p.batches)
	p.send(seq, payload)
}

func (p *fakePublisher) send(seq uint64, payload []byte) {
	for _, c := range p.live {
		c.messages <- msg{[]byte(p.topic), binary.BigEndian.AppendUint64(nil, seq), payload}
	}
}

// store and remove change one block and publish it.
func (p *fakePublisher) store(hash uint64) {
	p.mu.Lock()
	p.blocks[hash]++
	p.mu.Unlock()
	p.publish(storeOf(hash))
}

func (p *fakePublisher) remove(hash uint64) {
	p.mu.Lock()
	if p.blocks[hash]--; p.blocks[hash] == 0 {
		delete(p.blocks, hash)
	}
	p.mu.Unlock()
	p.publish(removalOf(hash))
}

func (p *fakePublisher) clear() {
	p.mu.Lock()
	clear(p.blocks)
	p.mu.Unlock()
	p.publish(pairs{"type", "AllBlocksCleared"})
}

func storeOf(hash uint64) any {
	return pairs{"type", "BlockStored", "block_hashes", []any{hash}, "parent_block_hash", nil, "token_ids", []any{1}, "block_size", 1}
}

func removalOf(hash uint64) any { return []any{"BlockRemoved", []any{hash}, "GPU"} }

// restart replaces the process. A proxy may keep the connections.
func (p *fakePublisher) restart(drop bool) {
	p.mu.Lock()
	p.batches, p.sent = nil, 0
	clear(p.blocks)
	p.mu.Unlock()
	if drop {
		p.drop()
	}
}

func (p *fakePublisher) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.live {
		c.fail(zmtp.ErrEnded)
	}
	p.live = nil
}

func (p *fakePublisher) set(change func(p *fakePublisher)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

// fakeNet connects addresses with publishers: NAME:1 is the stream, NAME:2 the
// history.
type fakeNet struct {
	mu         sync.Mutex
	publishers map[string]*fakePublisher
}

func (n *fakeNet) dial(_ context.Context, address string, s zmtp.Socket) (Conn, error) {
	n.mu.Lock()
	p := n.publishers[address[:len(address)-2]]
	n.mu.Unlock()
	if p == nil {
		return nil, errRefused
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dialled++
	c := newFakeConn(p)
	if s == zmtp.DEALER {
		if p.refuseReplay || p.refuse {
			return nil, errRefused
		}
		return c, nil
	}
	if p.refuse {
		return nil, errRefused
	}
	p.live = append(p.live, c)
	return c, nil
}

// fakeSink counts copies of blocks, as an index does.
type fakeSink struct {
	mu     sync.Mutex
	blocks map[uint64]uint64
	known  Knowledge
	clears int
	told   []Knowledge
	closed bool
}

func newFakeSink() *fakeSink { return &fakeSink{blocks: map[uint64]uint64{}} }

func (s *fakeSink) Apply(e *Event) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.Kind == Cleared {
		clear(s.blocks)
	}
	for _, h := range e.Hashes {
		switch {
		case e.Kind == Stored:
			s.blocks[h]++
		case s.blocks[h] > 1:
			s.blocks[h]--
		case s.blocks[h] == 1:
			delete(s.blocks, h)
		default:
			return false
		}
	}
	return true
}

func (s *fakeSink) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.blocks)
	s.clears++
}

func (s *fakeSink) SetKnowledge(k Knowledge) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = k
	s.told = append(s.told, k)
}

// holds returns the sink's blocks and knowledge.
func (s *fakeSink) holds() (map[uint64]uint64, Knowledge) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.blocks), s.known
}

// countKnown returns the number of times that the sink got a knowledge.
func (s *fakeSink) countKnown(k Knowledge) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, told := range s.told {
		if told == k {
			n++
		}
	}
	return n
}

// world is a Subscriber and one publisher, over a fake network.
type world struct {
	net        *fakeNet
	subscriber *Subscriber
	p          *fakePublisher
	sink       *fakeSink // the newest
	mu         sync.Mutex
	open       int
}

// publisher is followed in most tests. It keeps a history.
var publisher = Publisher{Upstream: "a:8000", Events: "a:1", Replay: "a:2"}

func newWorld() *world {
	w := &world{p: newFakePublisher()}
	w.net = &fakeNet{publishers: map[string]*fakePublisher{"a": w.p}}
	w.subscriber = NewSubscriber(Options{
		Open: func(Publisher) Sink {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.open++
			w.sink = newFakeSink()
			return w.sink
		},
		Closed: func(_ Publisher, s Sink) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.open--
			s.(*fakeSink).closed = true
		},
		Random: func() float64 { return 0.5 },
		Dial:   w.net.dial,
	})
	return w
}

func (w *world) state() State { return w.subscriber.States("")[0] }
