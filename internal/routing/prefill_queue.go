// SPDX-License-Identifier: Apache-2.0

package routing

import "time"

// prefillQueue is the prefill work in flight on one upstream: the reservations in
// the order in which they were made, as engines prefill first come, first served.
// The zero value is an idle upstream.
type prefillQueue struct {
	head, tail *reservation
	headSince  time.Time     // when the head's prefill began, as predicted or observed
	total      time.Duration // predicted prefill of all that are queued
	queued     int           // prompts whose prefill is not done
	requests   int           // reservations that have not ended, decoding ones included
	unstreamed int           // of these, the timed ones
	busy       time.Duration // in which something was queued, up to busySince
	busySince  time.Time     // when the queue was last empty; only while it is not

	overtakenTokens  int  // tokens of prompts that were done before the head, in its time
	headStartUnknown bool // nothing showed when the head's prefill began
}

// reservation is one request's place on an upstream. Its zero value is unused. It
// is part of the request's own state, so that reserving does not allocate. It must
// not be copied while in use.
type reservation struct {
	queue      *prefillQueue
	prev, next *reservation
	tokens     int           // to compute
	cost       time.Duration // predicted prefill
	work       *tenantWork   // counts the cost while it is queued; nil: nothing does
	timed      bool
	queued     bool
}

// prefillSample is an observation from a first token: so many tokens took that
// long to compute. Without tokens it says nothing.
type prefillSample struct {
	tokens   int
	took     time.Duration
	decoding int // requests that were decoded meanwhile
}

// reserve enters r with its tokens and their predicted duration. A timed
// reservation leaves the queue by itself when that duration is over: an answer
// that is not streamed does not show when its prefill ended. Others stay until
// firstToken.
func (q *prefillQueue) reserve(r *reservation, now time.Time, tokens int, prefill time.Duration, timed bool) {
	if r.queue != nil {
		panic("routing: reservation is in use")
	}
	q.advance(now)
	*r = reservation{queue: q, tokens: tokens, cost: max(prefill, 0), timed: timed, queued: true, prev: q.tail}
	if q.tail == nil {
		q.head, q.headSince, q.busySince = r, now, now
	} else {
		q.tail.next = r
	}
	q.tail = r
	q.total += r.cost
	q.queued++
	q.requests++
	if timed {
		q.unstreamed++
	}
}

// firstToken ends the prefill of r: others no longer wait for its tokens. It may
// be called more than once, and on a released reservation.
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

// sample returns the observation from the first token of r. An engine computes one prompt
// after the other, so r took the time since the one before it was done, however
// long r has waited. A prompt that is done before its turn was computed in the
// head's time, and is counted with it. A timed one is done when its whole answer
// is, some time after its prefill.
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

// release removes all of r. It may be called more than once.
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
	if r.timed {
		q.unstreamed--
	}
	r.queue = nil
}

// wait returns the time until the prefill is done that is queued now. The head counts for at least lateShare of its cost, however long it has
// been computed, see cost.lateShare.
func (q *prefillQueue) wait(now time.Time, late float64) time.Duration {
	q.advance(now)
	if q.head == nil {
		return 0
	}
	left := max(q.head.cost-now.Sub(q.headSince), time.Duration(late*float64(q.head.cost)))
	return q.total - q.head.cost + left
}

// busyUntil returns the time in which something was queued.
func (q *prefillQueue) busyUntil(now time.Time) time.Duration {
	q.advance(now)
	if q.head == nil {
		return q.busy
	}
	return q.busy + now.Sub(q.busySince)
}

// advance drops timed reservations whose prefill is over.
func (q *prefillQueue) advance(now time.Time) {
	for q.head != nil && q.head.timed && now.Sub(q.headSince) >= q.head.cost {
		q.headStartUnknown = true
		q.unlink(q.head, q.headSince.Add(q.head.cost))
	}
}

// unlink takes r out of the queue; if it was the head, the next one's prefill
// began at that time.
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
	r.work.remove(r.cost)
	r.work = nil
	if q.queued--; q.queued == 0 {
		q.busy += at.Sub(q.busySince)
		q.overtakenTokens, q.headStartUnknown = 0, false
	}
}
