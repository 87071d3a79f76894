// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"slices"
	"time"
)

// waiter is a lease that waits for n more bytes.
type waiter struct {
	lease    *Lease
	n        int64
	since    time.Duration
	reserved bool          // uploads were preempted for it; their room is reserved
	done     chan struct{} // closed once err is final
	err      error         // under Queue.mu until done
}

// started reports whether the request holds bytes or its body is complete.
func (w *waiter) started() bool { return w.lease.held > 0 || !w.lease.uploading }

// overdue reports whether this wait has lasted half of MaxWait.
func (w *waiter) overdue(now time.Duration) bool { return now-w.since >= w.lease.stallAfter }

// aged reports whether the request has waited for a quarter of MaxWait, all its
// waits together.
func (w *waiter) aged(now time.Duration) bool {
	l := w.lease
	return l.MaxWait-l.waitLeft+now-w.since >= l.stallAfter/2
}

// The order in which waiters are served.
const (
	priorityReserved = iota
	priorityStarted
	priorityNew
	numPriorities
)

func (w *waiter) priority() int {
	switch {
	case w.reserved:
		return priorityReserved
	case w.started():
		return priorityStarted
	}
	return priorityNew
}

// enqueue makes l wait for n bytes, unless it can have them now.
func (q *Queue) enqueue(l *Lease, n int64) *waiter {
	w := &waiter{lease: l, n: n, since: q.now(), done: make(chan struct{})}
	q.waiting = append(q.waiting, w)
	l.waiting = true
	q.dispatch()
	return w
}

// wait blocks until the waiter is served, its upload is preempted, its time is
// over or ctx is done. Meanwhile it makes room for itself.
func (w *waiter) wait(ctx context.Context) error {
	l := w.lease
	defer func() { l.waitLeft = max(0, l.waitLeft-(l.queue.now()-w.since)) }()
	tick := time.NewTicker(max(l.stallAfter/8, time.Millisecond))
	defer tick.Stop()
	end := time.NewTimer(l.waitLeft)
	defer end.Stop()
	for {
		l.queue.makeRoom(w)
		select {
		case <-w.done:
			return w.err
		case <-tick.C:
		case <-end.C:
			return w.leave(ErrNoRoom)
		case <-ctx.Done():
			return w.leave(ctx.Err())
		}
	}
}

// leave removes the waiter from the queue, unless it was served meanwhile.
func (w *waiter) leave(err error) error {
	q := w.lease.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if !w.lease.waiting {
		return w.err
	}
	q.waiting = slices.DeleteFunc(q.waiting, func(o *waiter) bool { return o == w })
	q.finish(w, err)
	q.dispatch()
	return err
}

// finish wakes a waiter that has left the queue.
func (q *Queue) finish(w *waiter, err error) {
	w.err = err
	if w.reserved {
		q.reserved -= w.n
	}
	w.lease.waiting = false
	close(w.done)
}

// dispatch serves the waiters by priority, then in order of arrival. It passes
// over those that do not fit yet: their wait is bounded, and room for a small
// request must not lie idle behind a large one.
func (q *Queue) dispatch() {
	if len(q.waiting) == 0 {
		return
	}
	now := q.now()
	for priority := range numPriorities {
		q.waiting = slices.DeleteFunc(q.waiting, func(w *waiter) bool {
			switch {
			case w.lease.Preempted():
				q.finish(w, ErrPreempted)
			case w.priority() == priority && q.servable(w, now):
				q.charge(w.lease, w.n)
				w.lease.touch() // it waited for us, not for its client
				q.finish(w, nil)
			default:
				return false
			}
			return true
		})
	}
}

// servable reports whether w fits now, without the room reserved for others.
func (q *Queue) servable(w *waiter, now time.Duration) bool {
	if !w.reserved && q.used.Load()+q.reserved+w.n > w.lease.Limit {
		return false
	}
	return q.fits(w.lease, w.n, w.overdue(now))
}

// longestWaiting returns the first waiter in the queue that has started.
func (q *Queue) longestWaiting() *waiter {
	for _, w := range q.waiting {
		if w.started() {
			return w
		}
	}
	return nil
}

// leastServed returns the aged waiter whose client would hold least, or nil.
func (q *Queue) leastServed(now time.Duration) (best *waiter) {
	least := int64(0)
	for _, w := range q.waiting {
		if w.reserved || w.lease.Preempted() || !w.aged(now) {
			continue
		}
		own := w.n
		if c := q.clients[w.lease.Client]; w.lease.uploading && c != nil {
			own += c.held
		}
		if best == nil || own < least {
			best, least = w, own
		}
	}
	return best
}
