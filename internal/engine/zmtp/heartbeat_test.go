// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"bytes"
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// until receives until an error, and returns it and the time until then.
func until(c *Conn) (took time.Duration, err error) {
	start := time.Now()
	var m Message
	for err == nil {
		err = c.Receive(&m)
	}
	return time.Since(start), err
}

// hears returns a 3.0 or 3.1 peer after its handshake.
func hears(t *testing.T, greeting []byte) (*Conn, *peer) {
	t.Helper()
	ours, theirs := net.Pipe()
	p := &peer{theirs, t}
	go p.shake(greeting, readyPUB)
	c, err := Handshake(context.Background(), ours, SUB, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c, p
}

// obey reads PINGs, records their times, and answers the first n.
func (p *peer) obey(n int) (came []time.Duration) {
	start := time.Now()
	got := make([]byte, len(pingSent))
	for {
		if _, err := io.ReadFull(p, got); err != nil {
			return came
		}
		if !bytes.Equal(got, pingSent) {
			p.t.Errorf("the peer got %x", got)
		}
		came = append(came, time.Since(start))
		if len(came) <= n {
			if _, err := p.Write(pongEmpty); err != nil {
				return came
			}
		}
	}
}

func TestSilentPeerIsDropped(t *testing.T) {
	for _, answers := range []int{0, 1, 360} {
		synctest.Test(t, func(t *testing.T) {
			c, p := hears(t, greeting31)
			came := make(chan []time.Duration, 1)
			go func() { came <- p.obey(answers) }()
			took, err := until(c)
			if want := time.Duration(answers)*10*time.Second + 30*time.Second; err != ErrSilent || took != want {
				t.Errorf("%d answers: got %v after %v, not %v", answers, err, took, want)
			}
			got := <-came
			if len(got) != answers+2 {
				t.Fatalf("%d answers: got %d PINGs", answers, len(got))
			}
			for i, at := range got {
				if want := time.Duration(i+1) * 10 * time.Second; at != want {
					t.Errorf("PING %d after %v, not %v", i, at, want)
				}
			}
		})
	}
}

// TestMessagesAreSignsOfLife: a peer that publishes gets no PINGs.
func TestMessagesAreSignsOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := hears(t, greeting31)
		go func() {
			for range 100 {
				p.Write(message("a"))
				time.Sleep(9 * time.Second)
			}
			p.Close()
		}()
		pings := make(chan int, 1)
		go func() { pings <- len(p.obey(0)) }()
		if took, err := until(c); err != ErrEnded || took != 900*time.Second {
			t.Errorf("got %v after %v", err, took)
		}
		if n := <-pings; n > 0 {
			t.Errorf("there were %d PINGs", n)
		}
	})
}

// TestDeafPeerIsLeftAlone: ZMTP 3.0 has no heartbeats. A peer that never answered one
// is not taken for dead, and gets no more after a while.
func TestDeafPeerIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := hears(t, greeting30)
		pings := make(chan int, 1)
		go func() { pings <- len(p.obey(0)) }()
		go func() {
			time.Sleep(24 * time.Hour)
			p.Write(message("good morning"))
			p.Close()
		}()
		var m Message
		if err := c.Receive(&m); err != nil || string(m.Parts[0]) != "good morning" {
			t.Fatalf("got %q, %v", m.Parts, err)
		}
		if _, err := until(c); err != ErrEnded {
			t.Error(err)
		}
		if n := <-pings; n != 2 {
			t.Errorf("there were %d PINGs", n)
		}
	})
}

// TestPeerOf30ThatAnswers: the silence of a 3.0 peer that answered heartbeats counts,
// as of libzmq 4.2.
func TestPeerOf30ThatAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := hears(t, greeting30)
		go p.obey(2)
		if took, err := until(c); err != ErrSilent || took != 50*time.Second {
			t.Errorf("got %v after %v", err, took)
		}
	})
}

// TestBusyCallerDoesNotMakeThePeerLate: only waits in Read count.
func TestBusyCallerDoesNotMakeThePeerLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := hears(t, greeting31)
		defer c.Close()
		var m Message
		for range 3 {
			p.send(message("a")[:2])
			if err := c.ReceiveUntil(&m, time.Now().Add(time.Second)); err != ErrDeadline {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
			p.send(message("a")[2:])
			if err := c.Receive(&m); err != nil || string(m.Parts[0]) != "a" {
				t.Fatalf("got %q, %v", m.Parts, err)
			}
			time.Sleep(time.Hour)
		}
	})
}

// TestPeerThatDoesNotRead: a heartbeat that cannot be written ends the connection.
func TestPeerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := hears(t, greeting31)
		defer p.Close()
		if took, err := until(c); err != ErrStalled || took != 15*time.Second {
			t.Errorf("got %v after %v", err, took)
		}
	})
}

func TestCommands(t *testing.T) {
	full := strings.Repeat("c", maxContext)
	command := func(body string) []byte { return appendFrame(nil, flagCommand, []byte(body)) }
	for _, c := range []struct {
		name string
		sent []byte
		want []byte // in answer
		err  error
	}{
		{"PING", command("\x04PING\x00\x00"), pongEmpty, nil},
		{"PING with a context", command("\x04PING\x01\x00ctx"), command("\x04PONGctx"), nil},
		{"PING with the longest", command("\x04PING\xff\xff" + full), command("\x04PONG" + full), nil},
		{"long form", []byte("\x06\x00\x00\x00\x00\x00\x00\x00\x07\x04PING\x00\x00"), pongEmpty, nil},
		{"PONG", command("\x04PONGwhatever"), nil, nil},
		{"PONGs in plenty", bytes.Repeat(pongEmpty, maxCommands-1), nil, nil},
		{"unknown", command("\x07SUSPEND\x00"), nil, nil},
		{"unknown and large", command("\x04NEWS" + strings.Repeat("n", maxCommand-5)), nil, nil},

		{"PING with a context too long", command("\x04PING\x00\x00" + full + "c"), nil, ErrMalformed},
		{"PING without time to live", command("\x04PING\x00"), nil, ErrMalformed},
		{"no name", command("\x00"), nil, ErrMalformed},
		{"no body", command(""), nil, ErrMalformed},
		{"name cut off", command("\x05PING"), nil, ErrMalformed},
		{"more to come", []byte("\x05\x05\x04PONG"), nil, ErrMalformed},
		{"ERROR", command("\x05ERROR\x00"), nil, ErrRejected},
		{"too large", command("\x04NEWS" + strings.Repeat("n", maxCommand-4)), nil, ErrTooLarge},
		{"a flood", bytes.Repeat(pongEmpty, maxCommands), nil, ErrFlood},
	} {
		// Before a message, and between its frames.
		for _, between := range []bool{false, true} {
			m := message("a", "b")
			in := slices.Concat(greeting31, readyPUB, c.sent, m)
			if between {
				in = slices.Concat(greeting31, readyPUB, m[:3], c.sent, m[3:])
			}
			conn := &scripted{in: in, chunk: 1000}
			got, err := Handshake(context.Background(), conn, SUB, Options{})
			if err != nil {
				t.Fatal(err)
			}
			conn.out = nil
			var received Message
			if err := got.Receive(&received); err != c.err || conn.closed != (err != nil) {
				t.Errorf("%s, between %v: got %v, not %v", c.name, between, err, c.err)
			} else if err == nil && !slices.Equal(texts(&received), []string{"a", "b"}) {
				t.Errorf("%s, between %v: got %q", c.name, between, texts(&received))
			}
			if string(conn.out) != string(c.want) {
				t.Errorf("%s: answered %x, not %x", c.name, conn.out, c.want)
			}
		}
	}
}

// TestCommandsAtAPace: many commands over a minute are no flood, and do not allow one
// later.
func TestCommandsAtAPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := hears(t, greeting31)
		go func() {
			for range 5 * maxCommands {
				p.Write(pongEmpty)
				time.Sleep(11 * time.Millisecond)
			}
			for range 2 * maxCommands {
				if _, err := p.Write(pongEmpty); err != nil {
					return
				}
			}
			t.Error("all of the flood went through")
		}()
		if took, err := until(c); err != ErrFlood || took < 50*time.Second {
			t.Errorf("got %v after %v", err, took)
		}
	})
}
