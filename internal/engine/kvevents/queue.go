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
	// queueBatches is how many live batches wait for a follower at most, and
	// queueBytes their size. Beyond, the connection is not read: the publisher
	// keeps up to its high-water mark, 100,000 batches, then drops some, which
	// the next one's number shows.
	maxQueueBatches = 4096
	maxQueueBytes   = 8 << 20
	// freeBytes is what may wait of each publisher whatever waits of others.
	// What is beyond counts against heldBytes, which all queues share; a batch
	// that does not fit is dropped, which the next one's number shows.
	freeQueueBytes   = 256 << 10
	sharedQueueBytes = 256 << 20
)

// queue holds the live batches of one connection that are not applied yet,
// while history is read or because more come than can be applied.
type queue struct {
	sharedBytes *atomic.Int64 // shared by all queues: bytes beyond the free ones
	ready       chan struct{} // holds one when there is something to pop, or the end
	room        chan struct{} // holds one when something was popped, or at the end

	mu              sync.Mutex
	waiting         []message
	bytes           int
	malformed       uint64 // messages that were none of a publisher
	recentMalformed int    // of these, since noiseFrom
	recentSince     time.Time
	stopped         bool  // nobody pops any more
	ended           error // why nothing comes any more
}

func newQueue(held *atomic.Int64) *queue {
	return &queue{sharedBytes: held, ready: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is signalled already
	}
}

// pump receives into the queue until the connection ends. It waits for room
// first, so that no message waits outside the limits.
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

// awaitRoom waits while the queue is full. It is false when it is stopped.
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

// offer copies a message into the queue. It is false when too many were none.
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

// quiet counts a message that was none, and tells whether there are not too many
// of them: they wait for nobody, so that nothing else would hold them up.
func (q *queue) countMalformed() bool {
	now := time.Now()
	if now.Sub(q.recentSince) >= malformedTime {
		q.recentMalformed, q.recentSince = 0, now
	}
	q.recentMalformed++
	return q.recentMalformed < maxMalformed
}

// take counts bytes, unless that were too much.
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

// pop takes all that waits, in order, and how many malformed messages came
// since the last time. err is why nothing comes any more, once it does not.
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

// pending reports whether there is anything to pop.
func (q *queue) pending() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting) > 0 || q.ended != nil
}

// done takes a message that pop gave off the count, when it was applied.
func (q *queue) done(m message) {
	q.mu.Lock()
	q.give(len(m.payload))
	q.mu.Unlock()
	signal(q.room)
}

// end notes why nothing more will come.
func (q *queue) end(err error) {
	q.mu.Lock()
	q.ended = err
	q.mu.Unlock()
	signal(q.ready)
}

// stop lets go of everything, and ends a pump that waits for room.
func (q *queue) stop() {
	q.mu.Lock()
	q.stopped, q.waiting = true, nil
	q.give(q.bytes)
	q.mu.Unlock()
	signal(q.room)
}
