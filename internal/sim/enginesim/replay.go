// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"context"
	"encoding/binary"
	"math"
	"net"
	"sync"
)

// endOfReplay is the sequence number that ends a replay.
const endOfReplay = math.MaxUint64

// serveRouter answers requests for past batches: an empty frame and the first
// number. Like vLLM, it ignores other messages.
func (p *publisher) serveRouter(ctx context.Context, conn net.Conn) {
	z, err := zmtpHandshake(conn, "ROUTER", "DEALER", "REQ", "ROUTER")
	if err != nil {
		return
	}
	// Without a mark to drop at, a full pipe makes the replay wait, so that a peer
	// that does not read costs no memory.
	lossless := p.cfg.ReplayHWM == 0
	hwm := p.cfg.ReplayHWM
	if lossless {
		hwm = 1000
	}
	queue := newPipe(hwm)
	var writing sync.WaitGroup
	writing.Go(func() { p.drain(ctx, z, queue) })
	for ctx.Err() == nil {
		command, parts, err := z.receive()
		if err != nil || !p.faults.pause(ctx, HangEvents) {
			break
		}
		if command == "" && len(parts) == 2 && len(parts[0]) == 0 && len(parts[1]) == 8 {
			p.replay(queue, binary.BigEndian.Uint64(parts[1]), lossless)
		}
	}
	queue.close()
	_ = conn.Close()
	writing.Wait()
}

// replay queues all kept batches from a number on, then the end marker. Unless
// lossless, it drops messages, the end marker too, when the pipe is full.
func (p *publisher) replay(queue *pipe, from uint64, lossless bool) {
	p.mu.Lock()
	var batches []batch
	for _, b := range p.kept {
		if b.sequence >= from {
			batches = append(batches, b)
		}
	}
	p.mu.Unlock()
	if f, hit := p.faults.take(TruncateReplay); hit {
		for _, b := range batches[:min(f.Chunks, len(batches))] {
			queue.put(p.replayed(b), lossless)
		}
		return
	}
	for _, b := range batches {
		queue.put(p.replayed(b), lossless)
	}
	queue.put(p.replayed(batch{sequence: endOfReplay}), lossless)
}

// replayed returns a message of a replay; the end marker has no topic.
func (p *publisher) replayed(b batch) []byte {
	number := binary.BigEndian.AppendUint64(nil, b.sequence)
	switch {
	case p.cfg.ReplayTopic == "no":
		return encodeMessage(nil, number, b.payload)
	case b.sequence == endOfReplay:
		return encodeMessage(nil, nil, number, nil)
	}
	return encodeMessage(nil, p.topic, number, b.payload)
}
