// SPDX-License-Identifier: Apache-2.0

package kvevents

import (
	"bytes"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/engine/zmtp"
)

const (
	// maxQueueBatches and maxQueueBytes bound the live batches that wait in one
	// queue. Beyond, the connection is not read: the publisher keeps batches up to
	// its high-water mark, 100,000, then drops some, which the next number shows.
	maxQueueBatches = 4096
	maxQueueBytes   = 8 << 20
	// freeQueueBytes may wait in each queue, whatever waits in others. The rest
	// counts against sharedQueueBytes of all queues together. A batch that does not
	// fit is dropped, which the next number shows.
	freeQueueBytes   = 256 << 10
	sharedQueueBytes = 256 << 20
)

// queue holds the live batches of one connection until they are applied.
type queue struct {
	sharedBytes *atomic.Int64 // of all queues: bytes beyond the free ones
	ready       chan struct{} // holds one when a batch can be popped, or at the end
	room        chan struct{} // holds one when a batch was popped, or at the end

	mu              sync.Mutex
	waiting         []message
	bytes           int
	malformed       uint64 // messages that are no batches, since the last pop
	recentMalformed int    // of these, since recentSince
	recentSince     time.Time
	stopped         bool  // the subscription pops no more
	ended           error // why no batch comes any more
}

func newQueue(held *atomic.Int64) *queue {
	return &queue{sharedBytes: held, ready: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// pump receives into the queue until the connection ends. It waits for room before
// each message, so that none waits outside the limits.
func (q *queue) pump(conn Conn) {
	var m zmtp.Message
	for q.awaitRoom() {
		if err := conn.ReceiveUntil(&m, time.Time{}); err != nil {
			q.end(err)
			return
		}
		if !q.offer(m.Parts) {
			q.end(ErrNoise)
			return
		}
	}
}

// awaitRoom waits while the queue is full. It returns false when it is stopped.
func (q *queue) awaitRoom() bool {
	for {
		q.mu.Lock()
		full, stopped := len(q.waiting) >= maxQueueBatches || q.bytes >= maxQueueBytes, q.stopped
		q.mu.Unlock()
		if stopped || !full {
			return !stopped
		}
		<-q.room
	}
}

// offer copies a message into the queue. It returns false after too many messages
// that are no batches.
func (q *queue) offer(parts [][]byte) bool {
	m, ok := liveMessage(parts)
	q.mu.Lock()
	defer q.mu.Unlock()
	defer signal(q.ready)
	switch {
	case !ok:
		q.malformed++
		return q.countMalformed()
	case q.stopped || !q.take(len(m.payload)):
	default:
		q.waiting = append(q.waiting, message{m.seq, bytes.Clone(m.payload)})
	}
	return true
}

// countMalformed counts a message that is no batch, and returns false after too
// many: the limits of the queue do not hold them up.
func (q *queue) countMalformed() bool {
	now := time.Now()
	if now.Sub(q.recentSince) >= malformedTime {
		q.recentMalformed, q.recentSince = 0, now
	}
	q.recentMalformed++
	return q.recentMalformed < maxMalformed
}

// take counts bytes and returns false if they exceed the limit.
func (q *queue) take(n int) bool {
	counted := int64(max(0, q.bytes+n-freeQueueBytes) - max(0, q.bytes-freeQueueBytes))
	if counted > 0 && q.sharedBytes.Add(counted) > sharedQueueBytes {
		q.sharedBytes.Add(-counted)
		return false
	}
	q.bytes += n
	return true
}

// give takes bytes off the count.
func (q *queue) give(n int) {
	counted := int64(max(0, q.bytes-freeQueueBytes) - max(0, q.bytes-n-freeQueueBytes))
	q.sharedBytes.Add(-counted)
	q.bytes -= n
}

// pop returns all batches that wait, in order, and the number of malformed messages
// since the last call. After the last batch, err is the reason of the end.
func (q *queue) pop(reuse []message) (batch []message, malformed uint64, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	batch, q.waiting = q.waiting, reuse[:0]
	malformed, q.malformed = q.malformed, 0
	if len(batch) == 0 {
		err = q.ended
	}
	return batch, malformed, err
}

// pending reports whether pop has news.
func (q *queue) pending() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting) > 0 || q.ended != nil
}

// done takes a popped message off the count, when it was applied.
func (q *queue) done(m message) {
	q.mu.Lock()
	q.give(len(m.payload))
	q.mu.Unlock()
	signal(q.room)
}

// end notes the reason why no batch will come any more.
func (q *queue) end(err error) {
	q.mu.Lock()
	q.ended = err
	q.mu.Unlock()
	signal(q.ready)
}

// stop drops all batches, and ends a pump that waits for room.
func (q *queue) stop() {
	q.mu.Lock()
	q.stopped, q.waiting = true, nil
	q.give(q.bytes)
	q.mu.Unlock()
	signal(q.room)
}
