// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"testing"
	"time"
)

// This file is an independent subscriber: it sends the bytes of libzmq, and its
// decoder shares no code with the encoder.

// zmtpClient is a SUB or DEALER socket.
type zmtpClient struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

const readySub = "\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB"
const readyDealer = "\x04\x29\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER\x08Identity\x00\x00\x00\x00"

func dialZMTP(t *testing.T, address, ready string) *zmtpClient {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return openZMTP(t, conn, ready)
}

func openZMTP(t *testing.T, conn net.Conn, ready string) *zmtpClient {
	t.Helper()
	t.Cleanup(func() { conn.Close() })
	c := &zmtpClient{t, conn, bufio.NewReader(conn)}
	greeting := make([]byte, 64)
	copy(greeting, "\xff\x00\x00\x00\x00\x00\x00\x00\x00\x7f\x03\x00NULL")
	c.send(string(greeting))
	theirs := make([]byte, 64)
	c.deadline(time.Minute)
	if _, err := io.ReadFull(c.in, theirs); err != nil {
		t.Fatal(err)
	}
	if theirs[0] != 0xff || theirs[9] != 0x7f || theirs[10] != 3 || string(theirs[12:20]) != "NULL\x00\x00\x00\x00" {
		t.Fatalf("greeting %x", theirs)
	}
	c.send(ready)
	flags, body, err := c.frame()
	if err != nil || flags != 4 || string(body[:6]) != "\x05READY" {
		t.Fatalf("READY: %x %q %v", flags, body, err)
	}
	return c
}

// subscribed returns a SUB socket whose subscription is in force.
func subscribed(t *testing.T, e *Engine, rank int, prefix string) *zmtpClient {
	t.Helper()
	before := e.Subscribers(rank)
	c := dialZMTP(t, e.EventsAddr(rank), readySub)
	c.send(fmt.Sprintf("\x00%c\x01%s", 1+len(prefix), prefix))
	c.await(func() bool { return e.Subscribers(rank) > before })
	return c
}

// await waits for the effect of another goroutine.
func (c *zmtpClient) await(done func() bool) {
	c.t.Helper()
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(time.Millisecond) {
		if done() {
			return
		}
	}
	c.t.Fatal("it never happened")
}

func (c *zmtpClient) send(wire string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, wire); err != nil {
		c.t.Fatal(err)
	}
}

func (c *zmtpClient) deadline(d time.Duration) { _ = c.conn.SetReadDeadline(time.Now().Add(d)) }

func (c *zmtpClient) frame() (flags byte, body []byte, err error) {
	var head [9]byte
	if _, err = io.ReadFull(c.in, head[:2]); err != nil {
		return 0, nil, err
	}
	n := uint64(head[1])
	if head[0]&2 != 0 {
		if _, err = io.ReadFull(c.in, head[2:]); err != nil {
			return 0, nil, err
		}
		n = binary.BigEndian.Uint64(head[1:])
	}
	body = make([]byte, n)
	_, err = io.ReadFull(c.in, body)
	return head[0], body, err
}

// message returns the parts of the next message, or an error at the end.
func (c *zmtpClient) message() (parts [][]byte, err error) {
	c.deadline(time.Minute)
	for {
		flags, body, err := c.frame()
		if err != nil {
			return nil, err
		}
		parts = append(parts, body)
		if flags&1 == 0 {
			return parts, nil
		}
	}
}

// next returns the next live batch.
func (c *zmtpClient) next() (topic string, sequence uint64, b decodedBatch) {
	c.t.Helper()
	parts, err := c.message()
	if err != nil || len(parts) != 3 || len(parts[1]) != 8 {
		c.t.Fatalf("%d parts, %v", len(parts), err)
	}
	return string(parts[0]), binary.BigEndian.Uint64(parts[1]), decodeBatch(c.t, parts[2])
}

// silent fails if a message arrives.
func (c *zmtpClient) silent(d time.Duration) {
	c.t.Helper()
	c.deadline(d)
	if b, err := c.in.Peek(1); err == nil {
		c.t.Fatalf("%x came", b)
	}
}

// replay asks for batches and returns the messages up to the end marker.
func (c *zmtpClient) replay(from uint64) [][][]byte {
	c.t.Helper()
	c.ask(from)
	var all [][][]byte
	for {
		parts, err := c.message()
		if err != nil {
			c.t.Fatalf("after %d messages: %v", len(all), err)
		}
		all = append(all, parts)
		for _, p := range parts {
			if string(p) == "\xff\xff\xff\xff\xff\xff\xff\xff" {
				return all
			}
		}
	}
}

func (c *zmtpClient) ask(from uint64) {
	c.send("\x01\x00\x00\x08" + string(binary.BigEndian.AppendUint64(nil, from)))
}

type decodedBatch struct {
	seconds float64
	rank    int
	events  []decodedEvent
}

// decodedEvent is an event, independent of its encoding.
type decodedEvent struct {
	kind   string
	form   string // map or array
	hashes []uint64
	parent *uint64
	tokens []uint32
	size   int
	lora   string
	loraID any
	medium string
	extra  []any // nil: absent
	more   map[string]any
	raw    any
}

func decodeBatch(t *testing.T, payload []byte) decodedBatch {
	t.Helper()
	v, rest := unpack(t, payload)
	list, ok := v.([]any)
	if !ok || len(list) != 3 || len(rest) != 0 {
		t.Fatalf("batch %v, %d bytes more", v, len(rest))
	}
	b := decodedBatch{seconds: list[0].(float64), rank: int(list[2].(uint64))}
	for _, e := range list[1].([]any) {
		b.events = append(b.events, decodeEvent(t, e))
	}
	return b
}

func decodeEvent(t *testing.T, v any) decodedEvent {
	t.Helper()
	if m, ok := v.(map[string]any); ok {
		d := decodedEvent{form: "map", kind: m["type"].(string), more: m, raw: v}
		d.fill(m["block_hashes"], m["medium"])
		if d.kind == "BlockStored" {
			d.stored(m["parent_block_hash"], m["token_ids"], m["block_size"], m["lora_id"], m["lora_name"])
			d.extra, _ = m["extra_keys"].([]any)
		}
		return d
	}
	a := v.([]any)
	d := decodedEvent{form: "array", kind: a[0].(string), raw: v}
	switch d.kind {
	case "BlockStored":
		d.fill(a[1], a[6])
		var name any
		if len(a) > 7 {
			name = a[7]
			d.more, _ = name.(map[string]any)
		}
		d.stored(a[2], a[3], a[4], a[5], name)
		if len(a) > 8 {
			d.extra, _ = a[8].([]any)
		}
	case "BlockRemoved":
		d.fill(a[1], a[2])
	}
	return d
}

func (d *decodedEvent) fill(hashes, medium any) {
	list, _ := hashes.([]any)
	for _, h := range list {
		d.hashes = append(d.hashes, hash64(h))
	}
	d.medium, _ = medium.(string)
}

func (d *decodedEvent) stored(parent, tokens, size, loraID, lora any) {
	if parent != nil {
		p := hash64(parent)
		d.parent = &p
	}
	for _, t := range tokens.([]any) {
		d.tokens = append(d.tokens, uint32(t.(uint64)))
	}
	d.size, d.loraID = int(size.(uint64)), loraID
	d.lora, _ = lora.(string)
}

// hash64 returns a hash as 64 bits; of a digest, the last ones.
func hash64(v any) uint64 {
	switch h := v.(type) {
	case uint64:
		return h
	case int64:
		return uint64(h)
	case []byte:
		return binary.BigEndian.Uint64(h[len(h)-8:])
	}
	panic(fmt.Sprintf("a hash of type %T", v))
}

// unpack decodes one MessagePack value.
func unpack(t *testing.T, b []byte) (v any, rest []byte) {
	t.Helper()
	code := b[0]
	b = b[1:]
	be := func(n int) (u uint64) {
		for _, c := range b[:n] {
			u = u<<8 | uint64(c)
		}
		b = b[n:]
		return u
	}
	text := func(n uint64) []byte {
		s := b[:n]
		b = b[n:]
		return s
	}
	list := func(n uint64) []any {
		l := make([]any, n)
		for i := range l {
			l[i], b = unpack(t, b)
		}
		return l
	}
	pairs := func(n uint64) map[string]any {
		m := make(map[string]any)
		for range n {
			var k any
			k, b = unpack(t, b)
			m[k.(string)], b = unpack(t, b)
		}
		if len(m) != int(n) {
			t.Fatal("a key came twice")
		}
		return m
	}
	switch {
	case code < 0x80:
		v = uint64(code)
	case code < 0x90:
		v = pairs(uint64(code & 15))
	case code < 0xa0:
		v = list(uint64(code & 15))
	case code < 0xc0:
		v = string(text(uint64(code & 31)))
	case code == 0xc0:
	case code == 0xc4:
		v = text(be(1))
	case code == 0xcb:
		v = math.Float64frombits(be(8))
	case code >= 0xcc && code <= 0xcf:
		v = be(1 << (code - 0xcc))
	case code == 0xd0:
		v = int64(int8(be(1)))
	case code == 0xd1:
		v = int64(int16(be(2)))
	case code == 0xd2:
		v = int64(int32(be(4)))
	case code == 0xd3:
		v = int64(be(8))
	case code == 0xd9:
		v = string(text(be(1)))
	case code == 0xda:
		v = string(text(be(2)))
	case code == 0xdc:
		v = list(be(2))
	case code == 0xdd:
		v = list(be(4))
	case code == 0xde:
		v = pairs(be(2))
	case code >= 0xe0:
		v = int64(int8(code))
	default:
		t.Fatalf("MessagePack code %x", code)
	}
	return v, b
}
