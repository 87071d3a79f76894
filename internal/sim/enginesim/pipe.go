// SPDX-License-Identifier: Apache-2.0

package enginesim

import "sync"

// pipe is the queue from a socket to one of its peers. It counts like libzmq: it is
// full at the high-water mark, until the reader has acknowledged half of that
// (the low-water mark).
type pipe struct {
	hwm uint64 // messages; 0: unlimited

	mu                   sync.Mutex
	moved                *sync.Cond
	queue                [][]byte
	written, read, acked uint64
	dropped              uint64
	closed               bool
}

func newPipe(hwm int) *pipe {
	p := &pipe{hwm: uint64(hwm)}
	p.moved = sync.NewCond(&p.mu)
	return p
}

func (p *pipe) full() bool { return p.hwm > 0 && p.written-p.acked >= p.hwm }

// put queues a message, which must not change afterwards. If the pipe is full, put
// drops the message, or waits for room.
func (p *pipe) put(message []byte, wait bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for wait && p.full() && !p.closed {
		p.moved.Wait()
	}
	if p.closed {
		return false
	}
	if p.full() {
		p.dropped++
		return false
	}
	p.queue = append(p.queue, message)
	p.written++
	p.moved.Broadcast()
	return true
}

// take waits for the next message. It returns false if the pipe is closed.
func (p *pipe) take() ([]byte, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.queue) == 0 && !p.closed {
		p.moved.Wait()
	}
	if p.closed {
		return nil, false
	}
	message := p.queue[0]
	p.queue[0] = nil
	p.queue = p.queue[1:]
	p.read++
	if low := max(1, (p.hwm+1)/2); p.read%low == 0 {
		p.acked = p.read
		p.moved.Broadcast()
	}
	return message, true
}

// close drops all messages and wakes all waiters.
func (p *pipe) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed, p.queue = true, nil
	p.moved.Broadcast()
}
