// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"
)

// Request describes one request to the queue. Sizes are in bytes.
type Request struct {
	Client    netip.Addr    // shares are counted by client
	Limit     int64         // for all requests together, while this one grows
	MaxWait   time.Duration // bounds all the request's waits for room together
	Announced int64         // the expected size of the body; -1: unknown

	// Interrupt makes the current or next read of the body fail soon. The queue
	// calls it under its lock when it preempts the upload: at most once, and
	// never after Complete or Close. It may be nil.
	Interrupt func()
}

// Lease is the memory that one request holds. Except for Close, which may be
// called again, its methods are for the goroutine of the request. After Close
// they have no effect.
type Lease struct {
	Request
	queue         *Queue
	stallAfter    time.Duration // time without progress after which the upload counts as stalled
	waitLeft      time.Duration // of MaxWait
	lastProgress  atomic.Int64  // in the time of Queue.now
	sinceProgress int64         // bytes
	preempted     atomic.Bool   // written under queue.mu

	// under queue.mu
	held      int64
	pending   int64 // announced and not held yet
	uploading bool  // the body is incomplete
	waiting   bool
	closed    bool
}

// Open starts the lease of an upload. It holds nothing yet.
func (q *Queue) Open(r Request) *Lease {
	l := &Lease{Request: r, queue: q, stallAfter: r.MaxWait / 2, waitLeft: r.MaxWait, uploading: true}
	l.touch()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.uploads[l] = struct{}{}
	c := q.clients[l.Client]
	if c == nil {
		c = new(tally)
		q.clients[l.Client] = c
	}
	c.uploads++
	q.total.uploads++
	return l
}

// An upload makes progress when one part in progressPart of the bytes it holds
// has arrived since it last did, or progressMax bytes. A slower one counts as
// stalled, however often it sends a byte: it would take a minute to fill the
// bytes it holds, with a MaxWait of 1s.
const (
	progressPart = 64
	progressMax  = 64 << 10
)

// Progress records that n bytes of the body arrived.
func (l *Lease) Progress(n int) {
	// Other goroutines change held only while this one waits.
	if l.sinceProgress += int64(n); l.sinceProgress >= min(l.held/progressPart, progressMax) {
		l.touch()
	}
}

// touch starts the time after which the upload counts as stalled.
func (l *Lease) touch() {
	l.sinceProgress = 0
	l.lastProgress.Store(int64(l.queue.now()))
}

// Grow takes n more bytes and waits for room if it must. It returns ErrNoRoom,
// ErrPreempted or the error of ctx when it took nothing.
func (l *Lease) Grow(ctx context.Context, n int64) error {
	q := l.queue
	q.mu.Lock()
	switch {
	case l.Preempted():
		q.mu.Unlock()
		return ErrPreempted
	case l.closed || n > l.Limit:
		q.mu.Unlock()
		return ErrNoRoom
	case q.tryCharge(l, n):
		q.mu.Unlock()
		return nil
	}
	w := q.enqueue(l, n)
	q.mu.Unlock()
	return w.wait(ctx)
}

// TryGrow takes n more bytes if there is room for them now.
func (l *Lease) TryGrow(n int64) bool {
	q := l.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.tryCharge(l, n)
}

// TryRetain takes n more bytes and marks retained bytes as outliving the
// request, if there is room now. [Queue.Unretain] takes the mark back.
func (l *Lease) TryRetain(n, retained int64) bool {
	q := l.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.retained+retained > l.Limit/RetainShare || !q.tryCharge(l, n) {
		return false
	}
	q.retained += retained
	return true
}

// Force takes n more bytes, or gives -n back, whether or not there is room. It
// is for work that cannot be stopped any more. Other requests wait until the sum
// is below the limit again.
func (l *Lease) Force(n int64) {
	q := l.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if l.closed {
		return
	}
	q.charge(l, max(n, -l.held))
	if n < 0 {
		q.dispatch()
	}
}

// Shrink gives n bytes back.
func (l *Lease) Shrink(n int64) { l.lower(func(held int64) int64 { return held - n }) }

// ShrinkTo gives all but n bytes back.
func (l *Lease) ShrinkTo(n int64) { l.lower(func(int64) int64 { return n }) }

// lower gives back the bytes above target(held).
func (l *Lease) lower(target func(held int64) int64) {
	q := l.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := l.held - max(target(l.held), 0); n > 0 {
		q.charge(l, -n)
		q.dispatch()
	}
}

// Split moves n bytes, or all if there are fewer, to a lease of their own. It is
// for memory that outlives the request.
func (l *Lease) Split(n int64) *Lease {
	q := l.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	n = min(n, l.held)
	q.charge(l, -n)
	other := &Lease{Request: l.Request, queue: q}
	q.charge(other, n)
	return other
}

// Complete records that the whole body has arrived. From then on the lease does
// not count towards its client's share and cannot be preempted. It returns false
// when the upload was preempted before.
func (l *Lease) Complete() bool {
	q := l.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if l.closed || l.Preempted() {
		return false
	}
	q.endUpload(l)
	q.dispatch()
	return true
}

// Preempted reports whether the upload was ended to make room for others. It
// takes no lock.
func (l *Lease) Preempted() bool { return l.preempted.Load() }

// Close gives everything back.
func (l *Lease) Close() {
	q := l.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if l.closed {
		return
	}
	q.endUpload(l)
	q.charge(l, -l.held)
	l.closed = true
	q.dispatch()
}
