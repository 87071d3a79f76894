// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/engine/zmtp"
)

// patience bounds waits that take milliseconds on a quiet machine.
const patience = 20 * time.Second

func dial(t *testing.T, address string, s zmtp.Socket, o zmtp.Options) *zmtp.Conn {
	t.Helper()
	c, err := zmtp.Dial(context.Background(), address, s, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// hear subscribes, and publishes until a message comes, since a subscription takes
// effect some time later. It returns the next sequence number.
func hear(t *testing.T, c *zmtp.Conn, p *publisher, topic string) (next uint64) {
	t.Helper()
	if err := c.Subscribe([]byte(topic)); err != nil {
		t.Fatal(err)
	}
	var m zmtp.Message
	for start := time.Now(); time.Since(start) < patience; {
		last := p.do(map[string]any{"bytes": 1}).Next
		switch err := c.ReceiveUntil(&m, time.Now().Add(20*time.Millisecond)); err {
		case zmtp.ErrDeadline:
			continue
		case nil:
		default:
			t.Fatal(err)
		}
		for sequence(t, &m, 1) != last-1 {
			receive(t, c, &m)
		}
		return last
	}
	t.Fatal("no message came")
	return 0
}

func receive(t *testing.T, c *zmtp.Conn, m *zmtp.Message) {
	t.Helper()
	if err := c.ReceiveUntil(m, time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
}

// sequence returns the sequence number in a part.
func sequence(t *testing.T, m *zmtp.Message, part int) uint64 {
	t.Helper()
	if len(m.Parts) <= part || len(m.Parts[part]) != 8 {
		t.Fatalf("got %d parts: %.40q", len(m.Parts), m.Parts)
	}
	return binary.BigEndian.Uint64(m.Parts[part])
}

// batch returns the message of the publisher's command "bytes".
func batch(size int, sequence uint64) []byte {
	b := append([]byte{0x93, 0xcb}, binary.BigEndian.AppendUint64(nil, math.Float64bits(1.5))...)
	b = append(b, 0x91)
	switch {
	case size < 1<<8:
		b = append(b, 0xc4, byte(size))
	case size < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0xc5), uint16(size))
	default:
		b = binary.BigEndian.AppendUint32(append(b, 0xc6), uint32(size))
	}
	b = append(b, bytes.Repeat([]byte{byte(sequence)}, size)...)
	return append(b, 0)
}

func TestSubHearsEverythingInOrder(t *testing.T) {
	p := publish(t)
	c := dial(t, p.where.Events, zmtp.SUB, zmtp.Options{})
	next := hear(t, c, p, "kv-")
	var m zmtp.Message
	const times, size = 2000, 1 << 16
	p.order(map[string]any{"bytes": size, "times": times})
	for range times {
		receive(t, c, &m)
		if got := sequence(t, &m, 1); got != next {
			t.Fatalf("got batch %d, not %d", got, next)
		}
		if len(m.Parts) != 3 || string(m.Parts[0]) != "kv-events" || !bytes.Equal(m.Parts[2], batch(size, next)) {
			t.Fatalf("batch %d: %.60x", next, m.Parts)
		}
		next++
	}
	p.done()
}

func TestOtherTopicsAreNotHeard(t *testing.T) {
	p := publish(t, "--topic", "kv@a")
	c := dial(t, p.where.Events, zmtp.SUB, zmtp.Options{})
	if err := c.Subscribe([]byte("kv@b")); err != nil {
		t.Fatal(err)
	}
	p.do(map[string]any{"bytes": 1, "times": 100})
	next := hear(t, c, p, "kv@a")
	if next <= 100 {
		t.Fatalf("batch %d came", next-1)
	}
}

// TestReplay has missed batches replayed, in all forms.
func TestReplay(t *testing.T) {
	for _, form := range []struct {
		name string
		args []string
		head int // frames before the sequence number
	}{
		{"without topic", nil, 1},
		{"with topic", []string{"--topic-in-replay"}, 2},
		{"with an empty topic", []string{"--topic-in-replay", "--topic", ""}, 2},
	} {
		t.Run(form.name, func(t *testing.T) {
			p := publish(t, form.args...)
			p.do(map[string]any{"bytes": 100, "times": 500})
			c := dial(t, p.where.Replay, zmtp.DEALER, zmtp.Options{})
			for _, from := range []uint64{0, 123, 499, 500} {
				ask(t, c, from)
				var m zmtp.Message
				for want := from; want < 500; want++ {
					receive(t, c, &m)
					if got := sequence(t, &m, form.head); got != want || len(m.Parts) != form.head+2 || len(m.Parts[0]) != 0 ||
						!bytes.Equal(m.Parts[form.head+1], batch(100, want)) {
						t.Fatalf("from %d: got batch %d in %d parts, not %d", from, got, len(m.Parts), want)
					}
				}
				receive(t, c, &m)
				if got := sequence(t, &m, form.head); got != math.MaxUint64 || len(m.Parts[form.head+1]) != 0 {
					t.Fatalf("from %d: got batch %d at the end", from, got)
				}
			}
		})
	}
}

// ask sends a replay request of vLLM.
func ask(t *testing.T, c *zmtp.Conn, from uint64) {
	t.Helper()
	if err := c.Send(nil, binary.BigEndian.AppendUint64(nil, from)); err != nil {
		t.Fatal(err)
	}
}

// TestHeartbeatsKeepIdleConnections: libzmq answers our heartbeats, and we answer
// its own. Without answers either side would end the connection.
func TestHeartbeatsKeepIdleConnections(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds of real time")
	}
	// A second is not enough: other processes may use the machine for as long.
	p := publish(t, "--heartbeat", "300")
	o := zmtp.Options{Ping: 50 * time.Millisecond, Idle: 3 * time.Second}
	sub, dealer := dial(t, p.where.Events, zmtp.SUB, o), dial(t, p.where.Replay, zmtp.DEALER, o)
	next := hear(t, sub, p, "")
	ended := make(chan error, 2)
	for _, c := range []*zmtp.Conn{sub, dealer} {
		go func() {
			var m zmtp.Message
			ended <- c.ReceiveUntil(&m, time.Now().Add(4*time.Second))
		}()
	}
	for range 2 {
		if err := <-ended; err != zmtp.ErrDeadline {
			t.Fatal(err)
		}
	}
	p.do(map[string]any{"bytes": 1})
	var m zmtp.Message
	receive(t, sub, &m)
	if got := sequence(t, &m, 1); got != next {
		t.Fatalf("got batch %d, not %d", got, next)
	}
	ask(t, dealer, next)
	receive(t, dealer, &m)
	if got := sequence(t, &m, 1); got != next {
		t.Fatalf("replayed batch %d, not %d", got, next)
	}
}

func TestDeathIsSeenAtOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds of real time")
	}
	for _, c := range []struct {
		name   string
		signal os.Signal
		want   error
		within time.Duration
	}{
		{"killed", os.Kill, zmtp.ErrEnded, patience}, // heartbeats would take longer
		{"hung", syscall.SIGSTOP, zmtp.ErrSilent, 2 * patience},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := publish(t)
			o := zmtp.Options{}
			if c.want == zmtp.ErrSilent {
				o = zmtp.Options{Ping: 100 * time.Millisecond, Idle: 3 * time.Second}
			}
			sub := dial(t, p.where.Events, zmtp.SUB, o)
			hear(t, sub, p, "")
			if err := p.process.Signal(c.signal); err != nil {
				t.Fatal(err)
			}
			var m zmtp.Message
			start := time.Now()
			if err := sub.ReceiveUntil(&m, start.Add(c.within)); err != c.want {
				t.Fatalf("got %v after %v", err, time.Since(start))
			}
			t.Logf("seen after %v", time.Since(start))
		})
	}
}

func TestWrongPorts(t *testing.T) {
	p, plain := publish(t), publish(t, "--plain")
	for _, c := range []struct {
		name, address string
		socket        zmtp.Socket
		want          error
	}{
		{"SUB to ROUTER", p.where.Replay, zmtp.SUB, zmtp.ErrWrongPort},
		{"DEALER to PUB", p.where.Events, zmtp.DEALER, zmtp.ErrWrongPort},
		// It closes before it gives a reason.
		{"a PUB with passwords", plain.where.Events, zmtp.SUB, zmtp.ErrGreeting},
	} {
		for range 20 { // libzmq closes at once, before or after its own READY
			if _, err := zmtp.Dial(context.Background(), c.address, c.socket, zmtp.Options{}); err != c.want {
				t.Fatalf("%s: %v", c.name, err)
			}
		}
	}
}

// TestPublisherThatDialsOut: vLLM connects to an endpoint without a wildcard.
func TestPublisherThatDialsOut(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	p := publish(t, "--connect", listener.Addr().String(), "--topic", "kv@10.0.0.1:8000@m")
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c, err := zmtp.Handshake(context.Background(), conn, zmtp.SUB, zmtp.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	next := hear(t, c, p, "kv@")
	p.do(map[string]any{"bytes": 3})
	var m zmtp.Message
	receive(t, c, &m)
	if got := sequence(t, &m, 1); got != next || string(m.Parts[0]) != "kv@10.0.0.1:8000@m" {
		t.Fatalf("got batch %d of %q", got, m.Parts[0])
	}
}
