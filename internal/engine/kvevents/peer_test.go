// SPDX-License-Identifier: Apache-2.0

package kvevents

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// A peer speaks ZMTP over real connections, in bytes captured from libzmq.

var (
	peerGreeting = unhex("ff00000000000000017f03014e554c4c" + strings.Repeat("00", 48))
	readyPUB     = unhex("04190552454144590b536f636b65742d5479706500000003505542")
	readyROUTER  = unhex("04290552454144590b536f636b65742d5479706500000006524f55544552084964656e7469747900000000")
)

// shake is a peer's side of the handshake.
func shake(c net.Conn, ready []byte) error {
	if _, err := c.Write(peerGreeting); err != nil {
		return err
	}
	g := make([]byte, 64)
	if _, err := io.ReadFull(c, g); err != nil {
		return err
	}
	if _, err := c.Write(ready); err != nil {
		return err
	}
	_, _, err := readFrame(c)
	return err
}

// readFrame reads a short frame.
func readFrame(r io.Reader) (flags byte, body []byte, err error) {
	var h [2]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, nil, err
	}
	if h[0]&2 != 0 {
		return 0, nil, errors.New("a long frame")
	}
	body = make([]byte, h[1])
	_, err = io.ReadFull(r, body)
	return h[0], body, err
}

// appendMessage appends a message's frames.
func appendMessage(to []byte, parts ...[]byte) []byte {
	for i, p := range parts {
		flags := byte(0)
		if i < len(parts)-1 {
			flags = 1
		}
		if len(p) < 256 {
			to = append(to, flags, byte(len(p)))
		} else {
			to = binary.BigEndian.AppendUint64(append(to, flags|2), uint64(len(p)))
		}
		to = append(to, p...)
	}
	return to
}

func seqOf(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// serve handles each connection to a port of its own until the test ends.
func serve(t testing.TB, handle func(c net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			running.Go(func() {
				handle(c)
				_ = c.Close()
				mu.Lock()
				delete(open, c)
				mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return l.Addr().String()
}

// tcpPublisher serves a publisher's two ports.
type tcpPublisher struct {
	events, replay string

	mu      sync.Mutex
	batches [][]byte
	live    map[net.Conn]bool
}

func newTCPPublisher(t testing.TB) *tcpPublisher {
	p := &tcpPublisher{live: map[net.Conn]bool{}}
	p.events = serve(t, p.stream)
	p.replay = serve(t, p.history)
	return p
}

// publisher returns the Publisher to follow.
func (p *tcpPublisher) publisher(upstream string) Publisher {
	return Publisher{Upstream: upstream, Events: p.events, Replay: p.replay}
}

func (p *tcpPublisher) stream(c net.Conn) {
	if shake(c, readyPUB) != nil {
		return
	}
	if _, body, err := readFrame(c); err != nil || string(body) != "\x01" {
		return // every subscription must be to all topics
	}
	p.mu.Lock()
	p.live[c] = true
	p.mu.Unlock()
	pongs(c)
	p.mu.Lock()
	delete(p.live, c)
	p.mu.Unlock()
}

// pongs answers heartbeats until the connection ends.
func pongs(c net.Conn) {
	for {
		flags, body, err := readFrame(c)
		if err != nil {
			return
		}
		if flags == 4 && strings.HasPrefix(string(body), "\x04PING") {
			pong := append([]byte("\x04PONG"), body[7:]...)
			if _, err := c.Write(append([]byte{4, byte(len(pong))}, pong...)); err != nil {
				return
			}
		}
	}
}

func (p *tcpPublisher) history(c net.Conn) {
	if shake(c, readyROUTER) != nil {
		return
	}
	_, empty, err := readFrame(c)
	_, from, err2 := readFrame(c)
	if err != nil || err2 != nil || len(empty) != 0 || len(from) != 8 {
		return
	}
	p.mu.Lock()
	batches := p.batches
	p.mu.Unlock()
	w := bufio.NewWriter(c)
	for i := binary.BigEndian.Uint64(from); i < uint64(len(batches)); i++ {
		_, _ = w.Write(appendMessage(nil, nil, nil, seqOf(i), batches[i]))
	}
	_, _ = w.Write(appendMessage(nil, nil, nil, seqOf(endOfHistory), nil))
	if w.Flush() == nil {
		pongs(c)
	}
}

// publish sends a batch to all subscribers.
func (p *tcpPublisher) publish(payload []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := appendMessage(nil, nil, seqOf(uint64(len(p.batches))), payload)
	p.batches = append(p.batches, payload)
	for c := range p.live {
		_, _ = c.Write(m)
	}
}

// signalSink is a fakeSink that signals its changes.
type signalSink struct {
	*fakeSink
	told chan struct{}
}

func newSignalSink() signalSink { return signalSink{newFakeSink(), make(chan struct{}, 1)} }

func (s signalSink) Apply(e *Event) bool {
	defer signal(s.told)
	return s.fakeSink.Apply(e)
}

func (s signalSink) SetKnowledge(k Knowledge) {
	s.fakeSink.SetKnowledge(k)
	signal(s.told)
}

// patience bounds waits that take milliseconds on a quiet machine.
const patience = time.Minute

// await waits for a state of the sink.
func (s signalSink) await(t testing.TB, what string, is func(blocks map[uint64]uint64, known Knowledge) bool) {
	t.Helper()
	limit := time.After(patience)
	for {
		if blocks, known := s.holds(); is(blocks, known) {
			return
		}
		select {
		case <-s.told:
		case <-limit:
			blocks, known := s.holds()
			t.Fatalf("%s does not happen: %d blocks, %s", what, len(blocks), known)
		}
	}
}

// until polls a condition that gives no signal.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for !is() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%s does not happen", what)
		}
	}
}

// sinks opens a signalSink for each upstream.
type sinks struct {
	mu sync.Mutex
	of map[string]signalSink
}

func newSinks() *sinks { return &sinks{of: map[string]signalSink{}} }

func (s *sinks) open(publisher Publisher) Sink {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of[publisher.Upstream] = newSignalSink()
	return s.of[publisher.Upstream]
}

// get waits for the sink of an upstream.
func (s *sinks) get(t testing.TB, upstream string) (sink signalSink) {
	t.Helper()
	until(t, "a sink", func() (ok bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		sink, ok = s.of[upstream]
		return ok
	})
	return sink
}

// watch follows publishers until the test ends, as requests do: after a minute
// without them a subscription ends.
func watch(t testing.TB, subscriber *Subscriber, publishers ...Publisher) {
	subscriber.Follow(publishers...)
	stop := make(chan struct{})
	var seeing sync.WaitGroup
	seeing.Go(func() {
		tick := time.NewTicker(idleAfter / 10)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				subscriber.Follow(publishers...)
			case <-stop:
				return
			}
		}
	})
	t.Cleanup(func() {
		close(stop)
		seeing.Wait()
	})
}

func TestOverTCP(t *testing.T) {
	p := newTCPPublisher(t)
	for h := range uint64(100) {
		p.publish(batchOf(storeOf(h)))
	}
	opened := newSinks()
	subscriber := NewSubscriber(Options{Open: opened.open})
	defer subscriber.Close()
	watch(t, subscriber, p.publisher("a:8000"))
	sink := opened.get(t, "a:8000")
	sink.await(t, "history", func(b map[uint64]uint64, k Knowledge) bool { return k == Complete && len(b) == 100 })
	until(t, "the subscription", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.live) == 1
	})
	p.publish(batchOf(removalOf(7)))
	sink.await(t, "a removal", func(b map[uint64]uint64, k Knowledge) bool { return k == Complete && len(b) == 99 })
	before := sink.countKnown(Unknown)
	p.mu.Lock()
	for c := range p.live {
		_ = c.Close()
	}
	p.batches = nil
	p.mu.Unlock()
	// It may have connected again by now.
	until(t, "its end", func() bool { return sink.countKnown(Unknown) > before })
	p.publish(batchOf(storeOf(500)))
	sink.await(t, "the next life", func(b map[uint64]uint64, k Knowledge) bool { return k == Complete && len(b) == 1 && b[500] == 1 })
}
