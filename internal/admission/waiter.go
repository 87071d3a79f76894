// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"time"
)

// How requests share what is not enough for all of them:
//
//   - Who finds no room waits, at most admit_wait in all. Requests that have
//     begun come before those that have not.
//   - An upload begins when what it announces fits beside what those before it
//     announced, as long as they keep coming; after half of its wait it begins
//     with what room there is, since an announcement costs nothing. A small part
//     of the limit is for every address to begin with, whatever others announce.
//   - Uploads that have received next to nothing for half of the wait yield to whoever
//     waits: those of the same address when it is this address's share that is
//     full, else of the address that holds most, the largest first. So uploads
//     that hang hold memory only while nobody else needs it.
//   - Who has waited for a quarter of its wait, and wants no more than others
//     have, gets it from the address that holds most, whose uploads yield, the
//     largest first, stalled or not.
//   - When the first that has begun has waited for half of its wait and none
//     hangs, the uploads themselves are too many: the later half of those that
//     wait is given up, so that some get through instead of all of them timing
//     out together.

// perLook is how many uploads are given up at a time in favour of one request,
// the largest first: looking for each takes a walk over all there are.
const maxPreemptions = 32

// waiter is a request for n more bytes that could not be granted at once.
type waiter struct {
	lease    *Lease
	n        int64
	since    time.Duration
	reserved bool          // uploads were given up for it: what they held is for it
	done     chan struct{} // closed once err is final
	err      error         // under budget.mu until done
}

func (w *waiter) begun() bool { return w.lease.held > 0 || !w.lease.uploading }

// overdue reports whether half of the wait is over.
func (w *waiter) overdue(now time.Duration) bool { return now-w.since >= w.lease.stallAfter }

// pressing reports whether the request has waited for a quarter of its wait,
// all in all.
func (w *waiter) aged(now time.Duration) bool {
	l := w.lease
	return 2*l.stallAfter-l.MaxWait+now-w.since >= l.stallAfter/2
}

// enqueue makes l wait for n bytes, unless they can be had now.
func (b *Queue) enqueue(l *Lease, n int64) *waiter {
	w := &waiter{lease: l, n: n, since: b.now(), done: make(chan struct{})}
	b.waiting = append(b.waiting, w)
	l.waiting = true
	b.dispatch()
	return w
}

// wait blocks until the waiter is served, its upload is given up, its
// patience ends or its client is gone.
func (w *waiter) wait(ctx context.Context) error {
	l := w.lease
	defer func() { l.MaxWait = max(0, l.MaxWait-(l.queue.now()-w.since)) }()
	tick := time.NewTicker(max(l.stallAfter/8, time.Millisecond))
	defer tick.Stop()
	end := time.NewTimer(l.MaxWait)
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

// leave takes the waiter out of the queue, unless it was served meanwhile.
func (w *waiter) leave(err error) error {
	b := w.lease.queue
	b.mu.Lock()
	defer b.mu.Unlock()
	if !w.lease.waiting {
		return w.err
	}
	b.waiting = slices.DeleteFunc(b.waiting, func(o *waiter) bool { return o == w })
	b.finish(w, err)
	b.dispatch()
	return err
}

// finish wakes a waiter that has left the queue.
func (b *Queue) finish(w *waiter, err error) {
	w.err = err
	if w.reserved {
		b.reserved -= w.n
	}
	w.lease.waiting = false
	close(w.done)
}

// rank is who is served first.
func (w *waiter) priority() int {
	switch {
	case w.reserved:
		return 0
	case w.begun():
		return 1
	}
	return 2
}

// dispatch serves those that wait: first those that room was made for, then
// those that have begun, each in order of arrival, passing over those that do
// not fit yet: their wait is bounded, and room that only a small one can use
// would otherwise lie idle. What was given up for one is not for others.
func (b *Queue) dispatch() {
	if len(b.waiting) == 0 {
		return
	}
	now := b.now()
	for rank := range 3 {
		b.waiting = slices.DeleteFunc(b.waiting, func(w *waiter) bool {
			switch {
			case w.lease.preempted:
				b.finish(w, ErrPreempted)
			case w.priority() == rank && (w.reserved || b.used.Load()+b.reserved+w.n <= w.lease.Limit) && b.fits(w.lease, w.n, w.overdue(now)):
				b.charge(w.lease, w.n)
				w.lease.touch() // the silence was ours, not the client's
				b.finish(w, nil)
			default:
				return false
			}
			return true
		})
	}
}

// reclaim gives up uploads until w will fit, as far as there are any to give
// up.
func (b *Queue) makeRoom(w *waiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !w.lease.waiting {
		return
	}
	now := b.now()
	missing := b.shortfall(w)
	if now-b.lastPass >= w.lease.stallAfter/16 { // many may wait at once: one look every so often is enough
		b.lastPass = now
		b.dropPending(w, now)
		for n := 0; n < maxPreemptions && missing > 0; n++ {
			victim := b.nextStalled(w, now)
			if victim == nil {
				break
			}
			missing -= b.preempt(victim)
		}
		if o := b.leastServed(now); o != nil {
			b.restoreFairShare(o, b.shortfall(o)+b.reserved)
		}
	}
	if missing > 0 && w.overdue(now) && b.longestWaiting() == w {
		b.shed(w)
	}
	b.dispatch() // wakes those given up while they waited
}

// doubt expects nothing more of uploads that have been silent for a while:
// they keep what they hold, but nobody waits for what they announced.
func (b *Queue) dropPending(w *waiter, now time.Duration) {
	for l := range b.uploads {
		if l.pending > 0 && !l.waiting && now-time.Duration(l.lastProgress.Load()) >= w.lease.stallAfter/4 {
			b.setPending(l, 0)
		}
	}
}

// missing is how many bytes must be given back before w fits, leaving out
// those that are being given up already.
func (b *Queue) shortfall(w *waiter) int64 {
	over := b.used.Load() + w.n - w.lease.Limit
	overShare := int64(0)
	if w.lease.uploading {
		overShare = b.overShare(w)
	}
	for l := range b.uploads {
		if l.preempted {
			over -= l.held
			if l.Client == w.lease.Client {
				overShare -= l.held
			}
		}
	}
	return max(over, overShare)
}

// overShare is by how much w would pass its client's share of uploads.
func (b *Queue) overShare(w *waiter) int64 {
	return b.clients[w.lease.Client].held + w.n - w.lease.Limit/UploadShare
}

// eligible reports whether l may be given up in favour of w: it holds
// something, and it is of the same client when it is that client's share that
// is full.
func (b *Queue) preemptible(l *Lease, w *waiter) bool {
	if l == w.lease || !l.uploading || l.preempted || l.held == 0 {
		return false
	}
	return !w.lease.uploading || b.overShare(w) <= 0 || l.Client == w.lease.Client
}

// stalled is the upload to give up next in favour of w, or nil.
func (b *Queue) nextStalled(w *waiter, now time.Duration) (best *Lease) {
	for l := range b.uploads {
		silent := now - time.Duration(l.lastProgress.Load())
		if b.preemptible(l, w) && !l.waiting && silent >= w.lease.stallAfter && (best == nil || b.preemptBefore(l, best)) {
			best = l
		}
	}
	return best
}

// worse orders stalled uploads: the address that holds most, then the larger.
func (b *Queue) preemptBefore(l, than *Lease) bool {
	if mine, its := b.clients[l.Client].held, b.clients[than.Client].held; l.Client != than.Client && mine != its {
		return mine > its
	}
	return l.held > than.held
}

// poorest is the waiter that room is to be made for next: of those who press,
// the one whose address would hold least.
func (b *Queue) leastServed(now time.Duration) (best *waiter) {
	least := int64(0)
	for _, w := range b.waiting {
		if w.reserved || w.lease.preempted || !w.aged(now) {
			continue
		}
		own := w.n
		if c := b.clients[w.lease.Client]; w.lease.uploading && c != nil {
			own += c.held
		}
		if best == nil || own < least {
			best, least = w, own
		}
	}
	return best
}

// level gives up uploads of those addresses that hold more than the waiter's
// would with what it wants, until there is room for it: each time the largest
// upload of the address that holds most.
func (b *Queue) restoreFairShare(w *waiter, missing int64) {
	if w.lease.uploading && b.overShare(w) > 0 {
		return // it is its own address that is in its way
	}
	held := make(map[netip.Addr]int64, len(b.clients))
	for l := range b.uploads {
		if !l.preempted {
			held[l.Client] += l.held
		}
	}
	own := w.n
	if w.lease.uploading {
		own += held[w.lease.Client]
	}
	for n := 0; n < maxPreemptions && missing > 0; n++ {
		var victim *Lease
		for l := range b.uploads {
			if l.Client == w.lease.Client || l.preempted || l.held == 0 || held[l.Client] <= own {
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
		missing -= b.preempt(victim)
		if !w.reserved {
			w.reserved = true
			b.reserved += w.n
		}
	}
}

// first is the waiter that has begun and has waited longest.
func (b *Queue) longestWaiting() *waiter {
	for _, w := range b.waiting {
		if w.begun() {
			return w
		}
	}
	return nil
}

// thin gives up half of the uploads that have begun and wait: those of the
// addresses that hold most, the later ones first.
func (b *Queue) shed(w *waiter) {
	var victims []*Lease
	for _, o := range slices.Backward(b.waiting) {
		if b.preemptible(o.lease, w) {
			victims = append(victims, o.lease)
		}
	}
	slices.SortStableFunc(victims, func(l, o *Lease) int {
		return cmp.Compare(b.clients[o.Client].held, b.clients[l.Client].held)
	})
	for _, l := range victims[:(len(victims)+1)/2] {
		b.preempt(l)
	}
}

// giveUp ends an upload and returns how many bytes that will give back.
func (b *Queue) preempt(l *Lease) int64 {
	l.preempted = true
	if l.Interrupt != nil {
		l.Interrupt()
	}
	return l.held
}
