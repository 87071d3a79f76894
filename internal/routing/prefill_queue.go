// SPDX-License-Identifier: Apache-2.0

package routing

import "time"

// queue is the prefill work in flight on one upstream: a queue of reservations
// in the order in which they were made, as engines prefill first come, first
// served. The zero value is an idle upstream.
type prefillQueue struct {
	head, tail *reservation
	headSince  time.Time     // when the head's prefill is taken to have begun
	total      time.Duration // of the costs of all that are queued
	queued     int           // prompts whose prefill is not done
	requests   int           // reserved and not yet ended, those that decode too

	overtakenTokens  int  // tokens of prompts that were done before the head, in its time
	headStartUnknown bool // nobody saw when the head's prefill began
}

// reservation is one request's place on an upstream. Its zero value is
// unused; it is embedded in the request's own state, so that reserving does
// not allocate. It must not be copied while in use.
type reservation struct {
	queue      *prefillQueue
	prev, next *reservation
	tokens     int           // to compute
	cost       time.Duration // predicted prefill
	timed      bool
	queued     bool
}

// service is what a first token tells of an upstream: that it took that long
// to compute that many tokens. No tokens: nothing can be told.
type prefillSample struct {
	tokens   int
	took     time.Duration
	decoding int // requests that were decoded meanwhile
}

// reserve enters r with its tokens and their predicted duration. A timed
// reservation leaves the queue by itself when that duration is over: the
// answers of requests that are not streamed do not tell when prefill ended.
// The others stay until firstToken.
func (q *prefillQueue) reserve(r *reservation, now time.Time, tokens int, prefill time.Duration, timed bool) {
	if r.queue != nil {
		panic("fleet: reservation is in use")
	}
	q.advance(now)
	*r = reservation{queue: q, tokens: tokens, cost: max(prefill, 0), timed: timed, queued: true, prev: q.tail}
	if q.tail == nil {
		q.head, q.headSince = r, now
	} else {
		q.tail.next = r
	}
	q.tail = r
	q.total += r.cost
	q.queued++
	q.requests++
}

// firstToken ends the prefill part of r: its tokens no longer make others
// wait. It may be called more than once, and on an ended reservation.
func (r *reservation) firstToken(now time.Time) (s prefillSample) {
	if r.queue == nil {
		return s
	}
	r.queue.advance(now)
	if !r.queued { // asked after advance, which may have dropped this very one
		return s
	}
	s = r.queue.sample(r, now)
	r.queue.unlink(r, now)
	return s
}

// served returns what the first token of r tells. An engine computes one
// prompt after the other, so the time since the one before r was done is that
// of r itself, however long r has waited. One that is done before its turn was
// computed in the head's time, and is counted with it. A timed one is done
// when its whole answer is, at some time after its prefill.
func (q *prefillQueue) sample(r *reservation, now time.Time) (s prefillSample) {
	if r != q.head {
		q.overtakenTokens += r.tokens
		return s
	}
	if !q.headStartUnknown && !r.timed {
		s = prefillSample{r.tokens + q.overtakenTokens, now.Sub(q.headSince), q.requests - q.queued}
	}
	q.overtakenTokens, q.headStartUnknown = 0, r.timed
	return s
}

// end releases all of r. It may be called more than once.
func (r *reservation) release(now time.Time) {
	q := r.queue
	if q == nil {
		return
	}
	q.advance(now)
	if r.queued {
		// Given up: how much of it was computed is not known.
		q.headStartUnknown = q.headStartUnknown || r == q.head
		q.unlink(r, now)
	}
	q.requests--
	r.queue = nil
}

// wait returns how long a request that is sent now waits until the prefill
// that is queued already is done. The head counts for at least the share late
// of its cost, however long it has been at it, see cost.late.
func (q *prefillQueue) wait(now time.Time, late float64) time.Duration {
	q.advance(now)
	if q.head == nil {
		return 0
	}
	left := max(q.head.cost-now.Sub(q.headSince), time.Duration(late*float64(q.head.cost)))
	return q.total - q.head.cost + left
}

// advance drops timed reservations whose prefill is over.
func (q *prefillQueue) advance(now time.Time) {
	for q.head != nil && q.head.timed && now.Sub(q.headSince) >= q.head.cost {
		q.headStartUnknown = true
		q.unlink(q.head, q.headSince.Add(q.head.cost))
	}
}

// unlink takes r out of the queue; when it was the head, the next one's
// prefill began at the time at.
func (q *prefillQueue) unlink(r *reservation, at time.Time) {
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
	q.total -= r.cost
	if q.queued--; q.queued == 0 {
		q.overtakenTokens, q.headStartUnknown = 0, false
	}
}
