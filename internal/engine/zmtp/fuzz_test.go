// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
)

// FuzzHandshake: any bytes of a peer lead to a fixed error, or to a peer with the
// right socket type.
func FuzzHandshake(f *testing.F) {
	for _, g := range [][]byte{greeting30, greeting31} {
		for _, r := range [][]byte{readyPUB, readyXPUB, readyROUTER, ready("X-A", "b", "Socket-Type", "PUB")} {
			f.Add(slices.Concat(g, r), uint16(1))
			f.Add(slices.Concat(g, r, message("a")), uint16(4096))
		}
	}
	f.Add(slices.Concat(greeting31, []byte("\x04\x0a\x05ERROR\x03no!")), uint16(9))
	f.Fuzz(func(t *testing.T, sent []byte, chunk uint16) {
		conn := &scripted{in: sent, chunk: 1 + int(chunk)}
		c, err := Handshake(context.Background(), conn, SUB, Options{})
		if err != nil {
			if !isFixed(err) || !conn.closed {
				t.Fatalf("got %v, closed is %v", err, conn.closed)
			}
			return
		}
		if sent[0] != 0xff || sent[9] != 0x7f || sent[10] < 3 || string(bytes.TrimRight(sent[12:32], "\x00")) != "NULL" {
			t.Fatalf("greeted by %x", sent[:64])
		}
		if kinds := socketTypes(sent[64:]); len(kinds) != 1 || kinds[0] != "PUB" && kinds[0] != "XPUB" {
			t.Fatalf("accepted socket types %q", kinds)
		}
		if cap(c.next.bytes) > 0 {
			t.Fatal("memory is taken for a message")
		}
	})
}

// socketTypes reads a whole READY in the simplest way.
func socketTypes(frame []byte) (kinds []string) {
	body := frame[2:]
	if frame[0] == flagCommand|flagLong {
		body = frame[9:]
		body = body[:binary.BigEndian.Uint64(frame[1:])]
	} else {
		body = body[:frame[1]]
	}
	for body = body[len("\x05READY"):]; len(body) > 0; {
		name := string(body[1 : 1+body[0]])
		body = body[1+len(name):]
		value := string(body[4:][:binary.BigEndian.Uint32(body)])
		body = body[4+len(value):]
		if strings.EqualFold(name, "Socket-Type") {
			kinds = append(kinds, value)
		}
	}
	return kinds
}

// model reads all that a peer has sent after the handshake, at once, in the simplest
// way.
type model struct {
	messages [][]string
	pongs    []byte
	err      error
}

func (m *model) read(in []byte, o Options) {
	var parts []string
	commands, size := 0, 0
	heard := len(in) > 0
	for {
		switch {
		case len(in) == 0 && !heard:
			m.err = ErrWrongPort
			return
		case len(in) == 0:
			m.err = ErrEnded
			return
		case in[0] > 7 || in[0] == 5 || in[0] == 7:
			m.err = ErrMalformed
			return
		}
		flags, head, body := in[0], 2, uint64(0)
		if flags&flagLong != 0 {
			head = 9
		}
		if len(in) < head {
			m.err = ErrEnded
			return
		}
		if body = uint64(in[1]); head == 9 {
			body = binary.BigEndian.Uint64(in[1:])
		}
		in = in[head:]
		if flags&flagCommand != 0 {
			if body > maxCommand {
				m.err = ErrTooLarge
			} else if body > uint64(len(in)) {
				m.err = ErrEnded
			} else if m.command(in[:body]); m.err == nil {
				if commands++; commands >= maxCommands {
					m.err = ErrFlood
				}
			}
			if m.err != nil {
				return
			}
			in = in[body:]
			continue
		}
		switch size += int(min(body, 1<<30)); {
		case len(parts) == o.MaxParts:
			m.err = ErrTooManyParts
		case body > uint64(o.MaxFrame) || size > o.MaxMessage:
			m.err = ErrTooLarge
		case body > uint64(len(in)):
			m.err = ErrEnded
		}
		if m.err != nil {
			return
		}
		parts = append(parts, string(in[:body]))
		in = in[body:]
		if flags&flagMore == 0 {
			m.messages = append(m.messages, parts)
			parts, size = nil, 0
		}
	}
}

func (m *model) command(body []byte) {
	if len(body) == 0 || body[0] == 0 || int(body[0]) >= len(body) {
		m.err = ErrMalformed
		return
	}
	data := body[1+body[0]:]
	switch string(body[1 : 1+body[0]]) {
	case "ERROR":
		m.err = ErrRejected
	case "PING":
		if len(data) < 2 || len(data) > 18 {
			m.err = ErrMalformed
			return
		}
		m.pongs = append(m.pongs, "\x04"+string(rune(5+len(data)-2))+"\x04PONG"...)
		m.pongs = append(m.pongs, data[2:]...)
	}
}

// FuzzReceive compares Receive with the model, for any bytes in pieces of any size.
func FuzzReceive(f *testing.F) {
	f.Add(message("kv", "12345678", "payload"), uint16(3))
	f.Add(slices.Concat(message("a", "b")[:3], pingSent, message("a", "b")[3:], pongEmpty), uint16(1))
	f.Add(message(strings.Repeat("x", 6000), "", strings.Repeat("y", 3000)), uint16(4000))
	f.Add(longFrame(1<<62), uint16(100))
	f.Add([]byte("\x04\x0a\x04PING\x00\x00ctx"), uint16(100))
	f.Add(bytes.Repeat(pongEmpty, maxCommands), uint16(999))
	o := Options{MaxFrame: 8000, MaxMessage: 10_000, MaxParts: 4}
	f.Fuzz(func(t *testing.T, sent []byte, chunk uint16) {
		conn := &scripted{in: slices.Concat(greeting31, readyPUB), chunk: 1 + int(chunk)}
		c, err := Handshake(context.Background(), conn, SUB, o)
		if err != nil {
			t.Fatal(err)
		}
		conn.in, conn.out = sent, nil
		var want model
		want.read(sent, o)
		conn.read = func() {
			if took := len(sent) - len(conn.in); cap(c.next.bytes) > max(2*took, firstBuffer) {
				t.Fatalf("%d bytes are taken for %d", cap(c.next.bytes), took)
			}
		}
		var m Message
		for i, message := range want.messages {
			if err := c.Receive(&m); err != nil || !slices.Equal(texts(&m), message) {
				t.Fatalf("message %d: got %q, %v, not %q", i, m.Parts, err, message)
			}
		}
		if err := c.Receive(&m); err != want.err {
			t.Fatalf("got %v, %q, not %v", err, m.Parts, want.err)
		}
		if !bytes.Equal(conn.out, want.pongs) {
			t.Fatalf("answered %x, not %x", conn.out, want.pongs)
		}
		if cap(c.next.bytes) > 0 {
			t.Fatal("memory is kept")
		}
	})
}
