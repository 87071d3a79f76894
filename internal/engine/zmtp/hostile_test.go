// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"math"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// longFrame returns the header of a frame that announces a size.
func longFrame(size uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{flagLong}, size)
}

func TestLimits(t *testing.T) {
	o := Options{MaxFrame: 1000, MaxMessage: 2500, MaxParts: 4}
	full, part := strings.Repeat("f", 1000), strings.Repeat("p", 500)
	for _, c := range []struct {
		name string
		sent []byte
		want error // instead of one message
	}{
		{"largest frame", message(full), nil},
		{"largest message", message(full, full, part), nil},
		{"largest message, and an empty frame", message(full, full, part, ""), nil},
		{"most parts", message("1", "2", "3", "4"), nil},
		{"frame one too large", message(full + "f"), ErrTooLarge},
		{"message one too large", message(full, full, part+"p"), ErrTooLarge},
		{"one part too many", message("1", "2", "3", "4", ""), ErrTooManyParts},
		{"parts without end", bytes.Repeat([]byte{flagMore, 0}, 1000), ErrTooManyParts},
		{"announced too large", longFrame(1001), ErrTooLarge},
		{"announced huge", longFrame(math.MaxInt64), ErrTooLarge},
		{"announced negative", longFrame(math.MaxInt64 + 1), ErrTooLarge},
		{"announced the most", longFrame(math.MaxUint64), ErrTooLarge},
		{"reserved flags", []byte{8, 0}, ErrMalformed},
		{"random", []byte("GET / HTTP/1.1\r\n"), ErrMalformed},
		{"cut off in a frame", message(full)[:500], ErrEnded},
		{"cut off in a header", []byte{flagLong, 0}, ErrEnded},
		{"cut off between frames", message(full, full)[:1009], ErrEnded},
		{"cut off in a command", pingSent[:5], ErrEnded},
	} {
		conn := &scripted{in: slices.Concat(greeting31, readyPUB, c.sent), chunk: 300}
		got, err := Handshake(context.Background(), conn, SUB, o)
		if err != nil {
			t.Fatal(err)
		}
		var m Message
		if err := got.Receive(&m); err != c.want || conn.closed != (err != nil) || (len(m.Parts) > 0) != (err == nil) {
			t.Errorf("%s: got %v, not %v", c.name, err, c.want)
		}
		if c.want != nil {
			if err := got.Receive(&m); err != c.want {
				t.Errorf("%s: then %v", c.name, err)
			}
			if got.next.bytes != nil {
				t.Errorf("%s: its memory is kept", c.name)
			}
		}
	}
}

// TestDripEnds: a peer that sends a byte now and then is not silent, but too slow.
func TestDripEnds(t *testing.T) {
	huge := append(longFrame(64<<20), make([]byte, 10_000)...)
	for _, c := range []struct {
		name  string
		first int // bytes at once
		sent  []byte
		pause time.Duration
		want  time.Duration
	}{
		{"in a frame", 9, huge, time.Second, 30 * time.Second},
		{"in a frame, a byte in 9 s", 10, huge, 9 * time.Second, 30 * time.Second},
		{"in the header", 0, huge, 9 * time.Second, 30 * time.Second},
		{"between frames", 0, bytes.Repeat([]byte{flagMore, 0}, 8), 9 * time.Second, 30 * time.Second},
		{"in a command", 0, pingSent, 9 * time.Second, 30 * time.Second},
		{"commands in a message", 3, slices.Concat(message("a", "b")[:3], bytes.Repeat(pongEmpty, 1000)), time.Second, 30 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			conn, p := hears(t, greeting31)
			go io.Copy(io.Discard, p)
			go func() {
				p.Write(c.sent[:c.first])
				for i := c.first; i < len(c.sent); i++ {
					time.Sleep(c.pause)
					if _, err := p.Write(c.sent[i : i+1]); err != nil {
						return
					}
				}
				p.Close()
			}()
			took, err := until(conn)
			if err != ErrSlow || took < c.want || took > c.want+c.pause+time.Second {
				t.Errorf("%s: got %v after %v", c.name, err, took)
			}
			time.Sleep(c.pause) // the drip ends
		})
	}
}

// trickle writes p at a rate in bytes a second.
func trickle(to io.Writer, p []byte, rate int) {
	for chunk := range slices.Chunk(p, rate/10) {
		if _, err := to.Write(chunk); err != nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TestSlowLinkPasses: a large event may take long, at MinRate or faster.
func TestSlowLinkPasses(t *testing.T) {
	for _, c := range []struct {
		size, rate int
		err        error
	}{
		{1 << 20, 20_000, nil},     // 53 s
		{1 << 20, 15_000, ErrSlow}, // 70 s, of 62
		{8 << 20, 40_000, nil},     // 210 s, of 286
		{8 << 20, 25_000, ErrSlow}, // 335 s
	} {
		synctest.Test(t, func(t *testing.T) {
			conn, p := hears(t, greeting31)
			large := strings.Repeat("x", c.size)
			var trickling sync.WaitGroup
			trickling.Go(func() { trickle(p, message("kv", large), c.rate) })
			var m Message
			start := time.Now()
			if err := conn.Receive(&m); err != c.err || err == nil && string(m.Parts[1]) != large {
				t.Errorf("%d bytes at %d/s: got %v after %v", c.size, c.rate, err, time.Since(start))
			}
			conn.Close()
			trickling.Wait()
		})
	}
}

// TestEachMessageHasItsOwnTime: a peer may use the time for a message or command
// again and again.
func TestEachMessageHasItsOwnTime(t *testing.T) {
	for name, sent := range map[string][]byte{"message": message("kv", "12345"), "command": pongEmpty} {
		synctest.Test(t, func(t *testing.T) {
			c, p := hears(t, greeting31)
			go io.Copy(io.Discard, p)
			go func() {
				for range 20 {
					p.Write(sent[:4])
					time.Sleep(25 * time.Second) // also through PINGs
					p.Write(sent[4:])
				}
				p.Write(message("last"))
				p.Close()
			}()
			var m Message
			for got := 0; ; got++ {
				if err := c.Receive(&m); err != nil {
					t.Fatalf("%s %d: %v", name, got, err)
				}
				if string(m.Parts[0]) == "last" {
					break
				}
				if !slices.Equal(texts(&m), []string{"kv", "12345"}) {
					t.Fatalf("%s %d: got %q", name, got, m.Parts)
				}
			}
			if err := c.Receive(&m); err != ErrEnded {
				t.Error(err)
			}
		})
	}
}

// TestMessagesTakeTurns: reused memory does not replace a message that has arrived
// in part.
func TestMessagesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := hears(t, greeting31)
		defer c.Close()
		var m [2]Message
		p.send(message(strings.Repeat("x", 100_000)), message("12345", "67")[:6])
		if err := c.Receive(&m[0]); err != nil {
			t.Fatal(err)
		}
		if err := c.ReceiveUntil(&m[1], time.Now().Add(time.Second)); err != ErrDeadline {
			t.Fatal(err)
		}
		p.send(message("12345", "67")[6:])
		if err := c.Receive(&m[0]); err != nil || !slices.Equal(texts(&m[0]), []string{"12345", "67"}) {
			t.Errorf("got %q, %v", m[0].Parts, err)
		}
	})
}

// TestMemoryGrowsWithWhatArrives: an announcement costs nothing.
func TestMemoryGrowsWithWhatArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := hears(t, greeting31)
		defer c.Close()
		arrived := 0
		p.send(longFrame(64 << 20))
		for more := range 50 {
			more *= 1000
			p.send(make([]byte, more))
			arrived += more
			if err := c.ReceiveUntil(new(Message), time.Now().Add(time.Second)); err != ErrDeadline {
				t.Fatal(err)
			}
			if got := cap(c.next.bytes); got > max(2*arrived, firstBuffer) || len(c.next.bytes) != arrived {
				t.Errorf("%d bytes have arrived, %d are taken", len(c.next.bytes), got)
			}
		}
	})
}

// TestBigMemoryIsLetGo: the memory of a large message is not kept for the next one,
// and that of smaller ones not through silence.
func TestBigMemoryIsLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := hears(t, greeting31)
		defer c.Close()
		go p.obey(100)
		var m Message
		for _, size := range []int{keepBuffer, keepBuffer + 1, 8 << 20} {
			p.send(message(strings.Repeat("x", size)))
			if err := c.Receive(&m); err != nil || len(m.Parts[0]) != size {
				t.Fatal(err)
			}
			if err := c.ReceiveUntil(&m, time.Now().Add(time.Second)); err != ErrDeadline {
				t.Fatal(err)
			}
			if kept := cap(c.next.bytes); m.bytes != nil || (kept > 0) != (size <= keepBuffer) || kept > keepBuffer {
				t.Errorf("after %d bytes: %d are kept", size, kept)
			}
			if err := c.ReceiveUntil(&m, time.Now().Add(12*time.Second)); err != ErrDeadline {
				t.Fatal(err)
			}
			if c.next.bytes != nil {
				t.Errorf("after silence: %d are kept", cap(c.next.bytes))
			}
		}
	})
}

// TestManyHostilePeers: connections with large unfinished messages take no more than
// the budget; small messages pass all the while.
func TestManyHostilePeers(t *testing.T) {
	const peers, limit = 50, 16 << 20
	synctest.Test(t, func(t *testing.T) {
		budget := NewBudget(limit)
		before := heap()
		failed := 0
		var conns []*Conn
		for range peers {
			c, p := connected(t, SUB, Options{Budget: budget})
			p.send(longFrame(64<<20), make([]byte, 1<<20))
			switch err := c.ReceiveUntil(new(Message), time.Now().Add(time.Second)); err {
			case ErrDeadline:
				conns = append(conns, c)
			case ErrMemory:
				failed++
			default:
				t.Fatal(err)
			}
			p.Close() // unread bytes must not block the test
		}
		if budget.Used() > limit || failed == 0 || len(conns) < 4 {
			t.Errorf("%d connections were cut off, %d bytes are taken", failed, budget.Used())
		}
		if taken := heap() - before; taken > 2*limit {
			t.Errorf("%d bytes of heap are taken", taken)
		}
		c, p := connected(t, SUB, Options{Budget: budget})
		p.send(message("kv", "12345678", strings.Repeat("s", freeBuffer/2-10)))
		if err := c.Receive(new(Message)); err != nil {
			t.Error(err)
		}
		for i, c := range conns {
			if i%2 == 0 {
				c.Close() // without a Receive that could give back
			} else if err := c.Receive(new(Message)); err != ErrEnded {
				t.Error(err)
			}
		}
		if budget.Used() != 0 {
			t.Errorf("%d bytes are still taken", budget.Used())
		}
	})
}

func heap() int64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

// TestBudgetIsGivenBack by received messages, and taken again.
func TestBudgetIsGivenBack(t *testing.T) {
	budget := NewBudget(1 << 20)
	large := message(strings.Repeat("x", 300_000))
	conn := &scripted{in: slices.Concat(greeting31, readyPUB, bytes.Repeat(large, 20)), chunk: 10_000}
	c, err := Handshake(context.Background(), conn, SUB, Options{Budget: budget})
	if err != nil {
		t.Fatal(err)
	}
	var m [2]Message
	for i := range 20 {
		if err := c.Receive(&m[i%2]); err != nil || len(m[i%2].Parts[0]) != 300_000 {
			t.Fatal(err)
		}
		if budget.Used() != 0 {
			t.Fatalf("%d bytes are taken", budget.Used())
		}
	}
	if err := c.Receive(&m[0]); err != ErrEnded || budget.Used() != 0 {
		t.Fatalf("%v, %d bytes are taken", err, budget.Used())
	}
	if (*Budget)(nil).Used() != 0 {
		t.Error("no budget is used")
	}
}

// TestCloseEndsWhatWaits in every call.
func TestCloseEndsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		p := &peer{theirs, t}
		go p.shake(greeting31, readyROUTER)
		c, err := Handshake(context.Background(), ours, DEALER, Options{})
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 2)
		go func() { ended <- c.Receive(new(Message)) }()
		go func() { ended <- c.Send([]byte("nobody reads this")) }()
		synctest.Wait()
		for range 2 {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
		for range 2 {
			if err := <-ended; err != ErrClosed {
				t.Error(err)
			}
		}
		if err := c.Send([]byte("a")); err != ErrClosed {
			t.Error(err)
		}
	})
}
