// SPDX-License-Identifier: Apache-2.0

package kvevents

import (
	"net"
	"testing"
	"time"
)

// dialOut connects to a Listener as a publisher that dials out does.
func dialOut(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := shake(c, readyPUB); err != nil {
		t.Fatal(err)
	}
	if _, body, err := readFrame(c); err != nil || string(body) != "\x01" {
		t.Fatalf("subscribed to %q, %v", body, err)
	}
	return c
}

// say sends a batch with a topic.
func say(t *testing.T, c net.Conn, topic string, seq uint64, event any) {
	t.Helper()
	if _, err := c.Write(appendMessage(nil, []byte(topic), seqOf(seq), batchOf(event))); err != nil {
		t.Error(err)
	}
}

func listening(t *testing.T, rank int, publishers ...Publisher) (*Listener, *sinks, string) {
	t.Helper()
	opened := newSinks()
	subscriber := NewSubscriber(Options{Open: opened.open})
	t.Cleanup(subscriber.Close)
	watch(t, subscriber, publishers...)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := NewListener(subscriber, l, rank)
	t.Cleanup(listener.Close)
	return listener, opened, l.Addr().String()
}

func TestListener(t *testing.T) {
	l, opened, address := listening(t, 1, Publisher{Upstream: "10.0.0.1:8000", Rank: 1}, Publisher{Upstream: "10.0.0.1:8000"}, Publisher{Upstream: "10.0.0.2:8000", Rank: 1})
	c := dialOut(t, address)
	// Unknown topics first; then one by its address, whose batch counts.
	for i, topic := range []string{"", "kv-events", "kv@", "kv@@m", "kv@10.0.0.1:8000", "kv@10.0.0.9:8000@m", "kv@10.0.0.1:8001@m"} {
		say(t, c, topic, uint64(i), storeOf(1))
	}
	until(t, "seven unknown topics", func() bool { return l.Stats().Unknown == 7 })
	if s := l.Stats(); s.Waiting != 1 || s.Refused != 0 {
		t.Errorf("%+v", s)
	}
	say(t, c, "kv@10.0.0.1:8000@org/m@1", 7, storeOf(2))
	until(t, "the hand-over", func() bool { return l.Stats().Waiting == 0 })
	var states []State
	until(t, "the connection", func() bool {
		states = l.subscriber.States("10.0.0.1:8000")
		return len(states) == 2 && states[1].Batches == 1
	})
	if states[0].Connected || states[0].Publisher.Rank != 0 || !states[1].Connected || states[1].Knowledge != Partial {
		t.Errorf("%+v", states)
	}
	// The other one by its host alone, from its first batch.
	other := dialOut(t, address)
	say(t, other, "kv@10.0.0.2@m", 0, storeOf(5))
	opened.get(t, "10.0.0.2:8000").await(t, "all that is known", func(b map[uint64]uint64, k Knowledge) bool { return k == Complete && b[5] == 1 })
}

// TestPublisherConnectsAgain: the newer connection replaces the older one.
func TestPublisherConnectsAgain(t *testing.T) {
	const up = "10.0.0.1:8000"
	_, opened, address := listening(t, 0, Publisher{Upstream: up})
	sink := opened.get(t, up)
	first := dialOut(t, address)
	say(t, first, "kv@"+up+"@m", 0, storeOf(1))
	sink.await(t, "the first", func(b map[uint64]uint64, k Knowledge) bool { return k == Complete && b[1] == 1 })
	second := dialOut(t, address)
	say(t, second, "kv@"+up+"@m", 0, storeOf(2))
	sink.await(t, "the second", func(b map[uint64]uint64, k Knowledge) bool { return k == Complete && b[2] == 1 && b[1] == 0 })
	if err := first.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if n, err := first.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("the first connection still delivers: %d, %v", n, err)
	}
	say(t, second, "kv@"+up+"@m", 1, storeOf(3))
	sink.await(t, "more of the second", func(b map[uint64]uint64, k Knowledge) bool { return k == Complete && len(b) == 2 })
}

// TestHostOfSeveralEngines: a host's name is not enough when there are two.
func TestHostOfSeveralEngines(t *testing.T) {
	l, _, address := listening(t, 0, Publisher{Upstream: "10.0.0.1:8000"}, Publisher{Upstream: "10.0.0.1:8001"})
	c := dialOut(t, address)
	say(t, c, "kv@10.0.0.1@m", 0, storeOf(1))
	until(t, "an unknown topic", func() bool { return l.Stats().Unknown == 1 })
	say(t, c, "kv@10.0.0.1:8001@m", 1, storeOf(1))
	until(t, "the hand-over", func() bool { return l.Stats().Waiting == 0 })
}

func TestListenerRefuses(t *testing.T) {
	l, _, address := listening(t, 0)
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	until(t, "a refusal", func() bool { return l.Stats().Refused == 1 && l.Stats().Waiting == 0 })
	l.numWaiting.Add(maxWaitingConns)
	many, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer many.Close()
	until(t, "one too many", func() bool { return l.Stats().Refused == 2 })
	l.numWaiting.Add(-maxWaitingConns)
	dialOut(t, address)
	until(t, "one", func() bool { return l.Stats().Waiting == 1 })
	l.Close()
	if s := l.Stats(); s.Waiting != 0 {
		t.Errorf("%+v", s)
	}
}

// TestNewestConnectionWins: of several connections that wait for one subscription
// the last is taken, and the others are closed.
func TestNewestConnectionWins(t *testing.T) {
	p := newFakePublisher()
	f := newSubscription(NewSubscriber(Options{}), Publisher{})
	conns := []*fakeConn{newFakeConn(p), newFakeConn(p), newFakeConn(p)}
	for _, c := range conns {
		f.takeOver(&inbound{conn: c})
	}
	closed := func(c *fakeConn) bool {
		select {
		case <-c.closed:
			return true
		default:
			return false
		}
	}
	if !closed(conns[0]) || !closed(conns[1]) || closed(conns[2]) {
		t.Error("the first two connections are not closed")
	}
	f.dropInbound()
	f.dropInbound()
	if !closed(conns[2]) {
		t.Error("the last stays open")
	}
}

// brokenListener is a net.Listener whose first calls of Accept fail.
type brokenListener struct {
	net.Listener
	failures int
}

func (b *brokenListener) Accept() (net.Conn, error) {
	if b.failures > 0 {
		b.failures--
		return nil, errRefused
	}
	return b.Listener.Accept()
}

func TestAcceptsAgain(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	subscriber := NewSubscriber(Options{Open: newSinks().open})
	defer subscriber.Close()
	listener := NewListener(subscriber, &brokenListener{l, 2}, 0)
	dialOut(t, l.Addr().String())
	until(t, "a connection", func() bool { return listener.Stats().Waiting == 1 })
	subscriber.Close() // ends it too
	listener.running.Wait()
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("it still accepts")
	}
}
