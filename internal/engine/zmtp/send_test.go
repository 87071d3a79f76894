// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestSubscribe(t *testing.T) {
	c, p := connected(t, SUB, Options{})
	long := strings.Repeat("t", 255)
	for topic, want := range map[string]string{
		"":     "\x00\x01\x01",
		"kv@a": "\x00\x05\x01kv@a",
		long:   "\x02\x00\x00\x00\x00\x00\x00\x01\x00\x01" + long,
	} {
		failed := make(chan error, 1)
		go func() { failed <- c.Subscribe([]byte(topic)) }()
		p.expect([]byte(want))
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	if err := c.Send([]byte("a")); err != ErrUse {
		t.Errorf("a SUB sent: %v", err)
	}
}

func TestSend(t *testing.T) {
	c, p := connected(t, DEALER, Options{MaxFrame: 100_000, MaxMessage: 150_000, MaxParts: 3})
	long := strings.Repeat("l", 100_000)
	for _, m := range []struct {
		parts []string
		want  string
	}{
		// as engines are asked for a replay
		{[]string{"", "\x00\x00\x00\x00\x00\x00\x00\x01"}, "\x01\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x01"},
		{[]string{""}, "\x00\x00"},
		{[]string{"a", long, ""}, "\x01\x01a\x03\x00\x00\x00\x00\x00\x01\x86\xa0" + long + "\x00\x00"},
	} {
		failed := make(chan error, 1)
		go func() { failed <- c.Send(pieces(m.parts)...) }()
		p.expect([]byte(m.want))
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	if cap(c.out) > bufferSize {
		t.Error("the memory of a large message is kept")
	}
	for _, parts := range [][]string{nil, {long + "l"}, {long, long}, {"", "", "", ""}} {
		if err := c.Send(pieces(parts)...); err != ErrUse {
			t.Errorf("%d parts: %v", len(parts), err)
		}
	}
	if err := c.Subscribe(nil); err != ErrUse {
		t.Errorf("a DEALER subscribed: %v", err)
	}
	failed := make(chan error, 1)
	go func() { failed <- c.Send([]byte("a")) }()
	p.expect([]byte("\x00\x01a"))
	if err := <-failed; err != nil {
		t.Errorf("after misuse: %v", err)
	}
}

func pieces(parts []string) (p [][]byte) {
	for _, s := range parts {
		p = append(p, []byte(s))
	}
	return p
}

// TestSendStalls: a peer that does not read blocks a sender for WriteTimeout.
func TestSendStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := connected(t, DEALER, Options{WriteTimeout: 3 * time.Second})
		start := time.Now()
		if err := c.Send([]byte("a")); err != ErrStalled || time.Since(start) != 3*time.Second {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		if err := c.Receive(new(Message)); err != ErrStalled {
			t.Error(err)
		}
	})
}

// TestSendWhileReceiving: requests and answers cross, with heartbeats between.
func TestSendWhileReceiving(t *testing.T) {
	c, p := connected(t, DEALER, Options{})
	const times = 200
	var sending sync.WaitGroup
	for range 4 {
		sending.Go(func() {
			for range times {
				if err := c.Send([]byte("12"), []byte("345")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	go func() {
		for range times {
			p.Write(slices.Concat(pingSent, message("answer")))
		}
	}()
	sending.Go(func() {
		var m Message
		for range times {
			if err := c.Receive(&m); err != nil || string(m.Parts[0]) != "answer" {
				t.Errorf("got %q, %v", m.Parts, err)
			}
		}
	})
	request, requests, pongs := message("12", "345"), 0, 0
	for requests < 4*times || pongs < times {
		first := make([]byte, 1)
		if _, err := p.Read(first); err != nil {
			t.Fatal(err)
		}
		if first[0] == flagCommand {
			p.expect(pongEmpty[1:])
			pongs++
		} else {
			p.expect(request[1:])
			requests++
		}
	}
	sending.Wait()
}
