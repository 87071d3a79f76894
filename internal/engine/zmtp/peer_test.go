// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"context"
	"encoding/hex"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// Bytes captured from libzmq 4.3.4.
var (
	greeting31 = unhex("ff00000000000000017f03014e554c4c" + strings.Repeat("00", 48))
	greeting30 = unhex("ff00000000000000007f03004e554c4c" + strings.Repeat("00", 48))
	readyPUB   = unhex("04190552454144590b536f636b65742d5479706500000003505542")
	readyXPUB  = unhex("041a0552454144590b536f636b65742d547970650000000458505542")
	// a ROUTER sends an empty identity too
	readyROUTER = unhex("04290552454144590b536f636b65742d5479706500000006524f55544552084964656e7469747900000000")
	// our own
	readySUB    = unhex("04190552454144590b536f636b65742d5479706500000003535542")
	readyDEALER = unhex("04290552454144590b536f636b65742d54797065000000064445414c4552084964656e7469747900000000")
	pingSent    = unhex("04070450494e470000")
	pongEmpty   = unhex("040504504f4e47")
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// peer is the other side of a connection, driven by a test.
type peer struct {
	net.Conn
	t *testing.T
}

// connected returns a connection of ours after its handshake, and its peer.
func connected(t *testing.T, s Socket, o Options) (*Conn, *peer) {
	t.Helper()
	ours, theirs := net.Pipe()
	p := &peer{theirs, t}
	go func() {
		ready := readyPUB
		if s == DEALER {
			ready = readyROUTER
		}
		p.shake(greeting31, ready)
	}()
	c, err := Handshake(context.Background(), ours, s, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		theirs.Close()
	})
	return c, p
}

// shake is a peer's side of the handshake.
func (p *peer) shake(greeting, ready []byte) {
	g := make([]byte, greetingSize)
	if _, err := io.ReadFull(p, g); err != nil {
		return
	}
	if _, err := p.Write(greeting); err != nil {
		return
	}
	r := make([]byte, 2)
	if _, err := io.ReadFull(p, r); err != nil {
		return
	}
	if _, err := io.CopyN(io.Discard, p, int64(r[1])); err != nil {
		return
	}
	_, _ = p.Write(ready)
}

// scripted is a connection whose peer has sent everything already, and closed. It
// ignores deadlines.
type scripted struct {
	in     []byte
	chunk  int // the most that one Read returns
	out    []byte
	closed bool
	read   func() // called by each Read
}

func (s *scripted) Read(p []byte) (int, error) {
	if s.read != nil {
		s.read()
	}
	if len(s.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), s.chunk)], s.in)
	s.in = s.in[n:]
	return n, nil
}

func (s *scripted) Write(p []byte) (int, error) {
	s.out = append(s.out, p...)
	return len(p), nil
}

func (s *scripted) Close() error {
	s.closed = true
	return nil
}

func (s *scripted) LocalAddr() net.Addr              { return nil }
func (s *scripted) RemoteAddr() net.Addr             { return nil }
func (s *scripted) SetDeadline(time.Time) error      { return nil }
func (s *scripted) SetReadDeadline(time.Time) error  { return nil }
func (s *scripted) SetWriteDeadline(time.Time) error { return nil }

// send writes in a goroutine of its own.
func (p *peer) send(parts ...[]byte) {
	go func() {
		for _, b := range parts {
			if _, err := p.Write(b); err != nil {
				return
			}
		}
	}()
}

// expect reads exactly these bytes.
func (p *peer) expect(want []byte) {
	p.t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(p, got); err != nil {
		p.t.Fatalf("the peer got %x, then %v", got, err)
	}
	if string(got) != string(want) {
		p.t.Fatalf("the peer got %x, not %x", got, want)
	}
}

// message returns a message as it goes on the wire.
func message(parts ...string) (wire []byte) {
	for i, part := range parts {
		flags := byte(flagMore)
		if i == len(parts)-1 {
			flags = 0
		}
		wire = appendFrame(wire, flags, []byte(part))
	}
	return wire
}

func texts(m *Message) (parts []string) {
	for _, p := range m.Parts {
		parts = append(parts, string(p))
	}
	return parts
}
