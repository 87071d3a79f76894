// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// maxPreemptions bounds the uploads that one pass preempts: finding each one
// takes a walk over all uploads.
const maxPreemptions = 32

// makeRoom preempts uploads until w fits, as far as the rules allow.
func (q *Queue) makeRoom(w *waiter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !w.lease.waiting {
		return
	}
	now := q.now()
	short := q.shortfall(w)
	if now-q.lastPass >= w.lease.stallAfter/16 { // many may wait: one pass serves them all
		q.lastPass = now
		q.dropPending(w, now)
		short -= q.preemptStalled(w, short, now)
		if least := q.leastServed(now); least != nil {
			q.restoreFairShare(least, q.shortfall(least)+q.reserved)
		}
	}
	if short > 0 && w.overdue(now) && q.longestWaiting() == w {
		q.shed(w)
	}
	q.dispatch() // wakes waiters that were preempted
}

// dropPending expects nothing more from uploads without progress for half of
// the time after which they count as stalled. They keep the bytes they hold,
// but no request waits for the bytes they announced.
func (q *Queue) dropPending(w *waiter, now time.Duration) {
	for l := range q.uploads {
		if l.pending > 0 && !l.waiting && l.idle(now) >= w.lease.stallAfter/4 {
			q.setPending(l, 0)
		}
	}
}

// idle returns the time since the upload made progress.
func (l *Lease) idle(now time.Duration) time.Duration {
	return now - time.Duration(l.lastProgress.Load())
}

// shortfall returns the number of bytes that must be given back before w fits,
// without those of uploads that are already preempted.
func (q *Queue) shortfall(w *waiter) int64 {
	over, overShare := q.used.Load()+w.n-w.lease.Limit, q.overShare(w)
	for l := range q.uploads {
		if l.Preempted() {
			over -= l.held
			if l.Client == w.lease.Client {
				overShare -= l.held
			}
		}
	}
	return max(over, overShare)
}

// overShare returns the bytes by which w would exceed its client's share of
// uploads, or 0 if its body is complete.
func (q *Queue) overShare(w *waiter) int64 {
	if !w.lease.uploading {
		return 0
	}
	return q.clients[w.lease.Client].held + w.n - w.lease.Limit/UploadShare
}

// preemptible reports whether preempting l would help w: l holds something,
// and if w's client has filled its share, l is of the same client.
func (q *Queue) preemptible(l *Lease, w *waiter) bool {
	if l == w.lease || !l.uploading || l.Preempted() || l.held == 0 {
		return false
	}
	return q.overShare(w) <= 0 || l.Client == w.lease.Client
}

// preemptStalled preempts stalled uploads until w has short bytes more. It
// returns the number of bytes that this frees.
func (q *Queue) preemptStalled(w *waiter, short int64, now time.Duration) (freed int64) {
	for n := 0; n < maxPreemptions && freed < short; n++ {
		victim := q.nextStalled(w, now)
		if victim == nil {
			break
		}
		freed += q.preempt(victim)
	}
	return freed
}

// nextStalled returns the stalled upload to preempt next in favor of w, or nil.
func (q *Queue) nextStalled(w *waiter, now time.Duration) (best *Lease) {
	for l := range q.uploads {
		stalled := !l.waiting && l.idle(now) >= w.lease.stallAfter
		if stalled && q.preemptible(l, w) && (best == nil || q.preemptBefore(l, best)) {
			best = l
		}
	}
	return best
}

// preemptBefore orders stalled uploads: the client that holds most first, then
// the larger upload.
func (q *Queue) preemptBefore(a, b *Lease) bool {
	if heldA, heldB := q.clients[a.Client].held, q.clients[b.Client].held; a.Client != b.Client && heldA != heldB {
		return heldA > heldB
	}
	return a.held > b.held
}

// restoreFairShare preempts uploads of clients that hold more than w's client
// would, until w has short bytes more: each time the largest upload of the
// client that holds most. The room is reserved for w.
func (q *Queue) restoreFairShare(w *waiter, short int64) {
	if q.overShare(w) > 0 {
		return // its own client is in its way
	}
	held := make(map[netip.Addr]int64, len(q.clients))
	for l := range q.uploads {
		if !l.Preempted() {
			held[l.Client] += l.held
		}
	}
	own := w.n
	if w.lease.uploading {
		own += held[w.lease.Client]
	}
	for n := 0; n < maxPreemptions && short > 0; n++ {
		var victim *Lease
		for l := range q.uploads {
			if l.Client == w.lease.Client || l.Preempted() || l.held == 0 || held[l.Client] <= own {
				continue
			}
			if victim == nil || held[l.Client] > held[victim.Client] || l.Client == victim.Client && l.held > victim.held {
				victim = l
			}
		}
		if victim == nil {
			return
		}
		held[victim.Client] -= victim.held
		short -= q.preempt(victim)
		if !w.reserved {
			w.reserved = true
			q.reserved += w.n
		}
	}
}

// shed preempts half of the uploads that have started and wait: those of the
// clients that hold most, the latest first.
func (q *Queue) shed(w *waiter) {
	var victims []*Lease
	for _, o := range slices.Backward(q.waiting) {
		if q.preemptible(o.lease, w) {
			victims = append(victims, o.lease)
		}
	}
	slices.SortStableFunc(victims, func(a, b *Lease) int {
		return cmp.Compare(q.clients[b.Client].held, q.clients[a.Client].held)
	})
	for _, l := range victims[:(len(victims)+1)/2] {
		q.preempt(l)
	}
}

// preempt ends an upload and returns the number of bytes that this will free.
func (q *Queue) preempt(l *Lease) int64 {
	l.preempted.Store(true)
	if l.Interrupt != nil {
		l.Interrupt()
	}
	return l.held
}
