// SPDX-License-Identifier: Apache-2.0

package fleet

import "time"

// queue is the prefill work in flight on one upstream: a queue of reservations
// in the order in which they were made, as engines prefill first come, first
// served. The zero value is an idle upstream.
type queue struct {
	head, tail *reservation
	headSince  time.Time // when the head's prefill is taken to have begun
	requests   int       // reserved and not yet ended
}

// reservation is one request's place on an upstream. Its zero value is
// unused; it is embedded in the request's own state, so that reserving does
// not allocate. It must not be copied while in use.
type reservation struct {
	queue      *queue
	prev, next *reservation
	cost       time.Duration // predicted prefill
	timed      bool
	queued     bool
}

// reserve enters r with the predicted duration of its prefill. A timed
// reservation leaves the queue by itself when that duration is over: the
// answers of requests that are not streamed do not tell when prefill ended.
// The others stay until firstToken.
func (q *queue) reserve(r *reservation, now time.Time, prefill time.Duration, timed bool) {
	if r.queue != nil {
		panic("fleet: reservation is in use")
	}
	q.advance(now)
	*r = reservation{queue: q, cost: max(prefill, 0), timed: timed, queued: true, prev: q.tail}
	if q.tail == nil {
		q.head, q.headSince = r, now
	} else {
		q.tail.next = r
	}
	q.tail = r
	q.requests++
}

// firstToken ends the prefill part of r: its tokens no longer make others
// wait. It may be called more than once, and on an ended reservation.
func (r *reservation) firstToken(now time.Time) {
	if r.queue == nil {
		return
	}
	r.queue.advance(now)
	if r.queued { // asked after advance, which may have dropped this very one
		r.queue.unlink(r, now)
	}
}

// end releases all of r. It may be called more than once.
func (r *reservation) end(now time.Time) {
	if r.queue == nil {
		return
	}
	r.firstToken(now)
	r.queue.requests--
	r.queue = nil
}

// wait returns how long a request that is sent now waits until the prefill
// that is queued already is done.
func (q *queue) wait(now time.Time) time.Duration {
	q.advance(now)
	var wait time.Duration
	for r := q.head; r != nil; r = r.next {
		if r == q.head {
			// What of it was due already is either done or late; late work
			// cannot be told from a slow first token, so it counts as nothing.
			wait += max(0, r.cost-now.Sub(q.headSince))
			continue
		}
		wait += r.cost
	}
	return wait
}

// count returns how many requests are reserved and have not ended.
func (q *queue) count() int { return q.requests }

// advance drops timed reservations whose prefill is over.
func (q *queue) advance(now time.Time) {
	for q.head != nil && q.head.timed && now.Sub(q.headSince) >= q.head.cost {
		q.unlink(q.head, q.headSince.Add(q.head.cost))
	}
}

// unlink takes r out of the queue; when it was the head, the next one's
// prefill began at the time at.
func (q *queue) unlink(r *reservation, at time.Time) {
	if r.prev == nil {
		q.head, q.headSince = r.next, at
	} else {
		r.prev.next = r.next
	}
	if r.next == nil {
		q.tail = r.prev
	} else {
		r.next.prev = r.prev
	}
	r.prev, r.next, r.queued = nil, nil, false
}
