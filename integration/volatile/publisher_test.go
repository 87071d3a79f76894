// SPDX-License-Identifier: Apache-2.0

//go:build linux && !race

package volatile

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
)

// flooder is the publishers of a hostile engine. They send without end, each rank in
// a way of its own, live and as history. The batches are well-formed, so that the
// gateway applies them.
type flooder struct {
	events, replay int // the ports of rank 0
	said           atomic.Int64
	over           atomic.Bool
}

// floodRanks is the number of publishers of a flooder.
const floodRanks = 4

// startFlooder listens at consecutive ports until the end of the test.
func startFlooder(t *testing.T) *flooder {
	t.Helper()
	f := new(flooder)
	t.Cleanup(func() { f.over.Store(true) })
	f.events = f.listen(t, "\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03PUB", []byte("\x01\x00\x01\x08"))
	f.replay = f.listen(t, "\x04\x1c\x05READY\x0bSocket-Type\x00\x00\x00\x06ROUTER", []byte("\x01\x00\x01\x00\x01\x08"))
	return f
}

// option returns the option that follows it.
func (f *flooder) option() string {
	return fmt.Sprintf("events tcp://127.0.0.1:%d {\nreplay tcp://127.0.0.1:%d\nranks %d\n}", f.events, f.replay, floodRanks)
}

// listen serves all ranks, at the port that it returns and the next ones.
func (f *flooder) listen(t *testing.T, ready string, head []byte) (port int) {
	t.Helper()
	for range 100 {
		first, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners := []net.Listener{first}
		port = first.Addr().(*net.TCPAddr).Port
		for rank := 1; rank < floodRanks; rank++ {
			l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port+rank))
			if err != nil {
				break
			}
			listeners = append(listeners, l)
		}
		for _, l := range listeners {
			t.Cleanup(func() { l.Close() })
		}
		if len(listeners) < floodRanks {
			continue
		}
		for rank, l := range listeners {
			go f.accept(l, rank, ready, head)
		}
		return port
	}
	t.Fatal("no ports in a row are free")
	return 0
}

// accept floods every connection.
func (f *flooder) accept(l net.Listener, rank int, ready string, head []byte) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			io.WriteString(c, "\xff\x00\x00\x00\x00\x00\x00\x00\x00\x7f\x03\x00NULL"+string(make([]byte, 48))+ready)
			go io.Copy(io.Discard, c)
			f.flood(c, rank, head)
		}()
	}
}

// flood sends batches, numbered from 0, until the connection ends. Those of rank 0
// have 16 events, those of rank 1 as many tokens as a message may have, those of
// rank 2 alternate, and rank 3 sends one frame without end.
func (f *flooder) flood(c net.Conn, rank int, head []byte) {
	if rank == 3 {
		f.say(c, append(head[:len(head)-2:len(head)-2], 2, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff))
		for noise := make([]byte, 1<<20); f.say(c, noise); {
		}
		return
	}
	for seq := uint64(0); ; seq++ {
		large := rank == 1 || rank == 2 && seq%2 == 0
		payload := hostileBatch(seq, large)
		frame := binary.BigEndian.AppendUint64(head[:len(head):len(head)], seq)
		frame = binary.BigEndian.AppendUint64(append(frame, 2), uint64(len(payload)))
		if !f.say(c, append(frame, payload...)) {
			return
		}
	}
}

func (f *flooder) say(c net.Conn, b []byte) bool {
	n, err := c.Write(b)
	f.said.Add(int64(n))
	return err == nil && !f.over.Load()
}

// hostileBatch returns a batch that stores new blocks: 16 of them, or as many as fit
// in a message.
func hostileBatch(seq uint64, large bool) []byte {
	const blockTokens = 16
	events, blocks := 16, 1
	if large {
		events, blocks = 1, 60_000 // 60,000 hashes of 9 bytes, 960,000 tokens of 5 bytes
	}
	b := append([]byte{0x92, 0xcb}, make([]byte, 8)...)
	b = append(b, 0xdc, 0, byte(events))
	hash := seq << 32
	for range events {
		b = append(b, 0x85)
		b = append(append(b, 0xa4), "type"...)
		b = append(append(b, 0xab), "BlockStored"...)
		b = append(append(b, 0xac), "block_hashes"...)
		b = append(b, 0xdd)
		b = binary.BigEndian.AppendUint32(b, uint32(blocks))
		for range blocks {
			hash++
			b = binary.BigEndian.AppendUint64(append(b, 0xcf), hash*0x9e3779b97f4a7c15)
		}
		b = append(append(b, 0xb1), "parent_block_hash"...)
		b = append(b, 0xc0)
		b = append(append(b, 0xa9), "token_ids"...)
		b = append(b, 0xdd)
		b = binary.BigEndian.AppendUint32(b, uint32(blocks*blockTokens))
		for i := range blocks * blockTokens {
			b = binary.BigEndian.AppendUint32(append(b, 0xce), uint32(hash)^uint32(i)*2654435761)
		}
		b = append(append(b, 0xaa), "block_size"...)
		b = append(b, blockTokens)
	}
	return b
}
