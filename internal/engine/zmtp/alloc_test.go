// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"bytes"
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// repeated is a connection whose peer sends the same bytes for ever.
type repeated struct {
	scripted
	bytes []byte
	at    int
}

func (r *repeated) Read(p []byte) (int, error) {
	if len(r.in) > 0 {
		return r.scripted.Read(p)
	}
	n := copy(p, r.bytes[r.at:])
	r.at = (r.at + n) % len(r.bytes)
	return n, nil
}

// endless returns a connection whose peer sends these bytes for ever.
func endless(t testing.TB, bytes []byte) *Conn {
	t.Helper()
	r := &repeated{scripted: scripted{in: slices.Concat(greeting31, readyPUB), chunk: 4096}, bytes: bytes}
	c, err := Handshake(context.Background(), r, SUB, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestReceiveDoesNotAllocate once the memory of the largest message is there.
func TestReceiveDoesNotAllocate(t *testing.T) {
	sizes := []int{10, 2000, 100_000, 0, 300}
	var bytes []byte
	for _, size := range sizes {
		bytes = append(bytes, message("kv-events", "12345678", strings.Repeat("x", size))...)
		bytes = append(bytes, pongEmpty...)
	}
	c := endless(t, bytes)
	var m Message
	at := 0
	receive := func() {
		if err := c.Receive(&m); err != nil || len(m.Parts) != 3 || len(m.Parts[2]) != sizes[at] {
			t.Fatalf("got %d parts, %v", len(m.Parts), err)
		}
		at = (at + 1) % len(sizes)
	}
	for range 2 * len(sizes) {
		receive()
	}
	if n := testing.AllocsPerRun(20*len(sizes), receive); n > 0 {
		t.Errorf("%v allocations for a message", n)
	}
}

// idling is a connection whose peer sends only PONGs, and a message after a while.
// Its deadlines pass at once.
type idling struct {
	scripted
	pings, ponged int
}

func (i *idling) Read(p []byte) (int, error) {
	switch {
	case len(i.in) > 0:
		return i.scripted.Read(p)
	case i.ponged == i.pings:
		return 0, os.ErrDeadlineExceeded
	}
	if i.ponged++; i.ponged%10 == 0 {
		return copy(p, "\x00\x01a"), nil
	}
	return copy(p, pongEmpty), nil
}

func (i *idling) Write(p []byte) (int, error) {
	if bytes.Equal(p, pingSent) {
		i.pings++
	}
	return len(p), nil
}

// TestIdleDoesNotAllocate: heartbeats make no garbage.
func TestIdleDoesNotAllocate(t *testing.T) {
	conn := &idling{scripted: scripted{in: slices.Concat(greeting31, readyPUB), chunk: 4096}}
	c, err := Handshake(context.Background(), conn, SUB, Options{Ping: 1, Idle: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	var m Message
	receive := func() {
		if err := c.Receive(&m); err != nil || string(m.Parts[0]) != "a" {
			t.Fatalf("got %q, %v", m.Parts, err)
		}
	}
	receive()
	// The message's own memory is released and allocated again: its byte and its
	// list of ends.
	if n := testing.AllocsPerRun(100, receive); n > 2 {
		t.Errorf("%v allocations for ten heartbeats and a message", n)
	}
	if conn.pings < 1000 {
		t.Errorf("there were %d heartbeats", conn.pings)
	}
}

// BenchmarkReceive receives messages of 2 KB, as an engine sends them after a step
// that has stored a few blocks. It leaves out the kernel.
func BenchmarkReceive(b *testing.B) {
	c := endless(b, message("kv-events", "12345678", strings.Repeat("x", 2000)))
	var m Message
	b.ReportAllocs()
	b.SetBytes(2000)
	for b.Loop() {
		if err := c.Receive(&m); err != nil {
			b.Fatal(err)
		}
	}
}
