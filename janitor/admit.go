// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// uploadShare is the part of an in-flight limit that the unfinished uploads
// of one client address may fill: a half. Bodies that have arrived whole are
// no longer uploads, so a busy client behind one address is not slowed down
// by the share, only one whose uploads do not end.
const uploadShare = 2

var (
	errNoRoom  = errors.New("no room under the in-flight limit")
	errEvicted = errors.New("stalled upload given up for want of room")
)

// budget counts the bytes that all requests of the process hold: bodies as
// they arrive, scrubbed copies, vaults and buffered answers. There is one for
// the process, because the memory is the process's; each handler compares it
// with a limit of its own.
//
// When there is no room a request waits, in order of arrival. Uploads may be
// given up in favour of whoever waits: first those that have received nothing
// for half of the waiter's patience, largest first, of the waiter's own
// address when its own share is full, else of the address that holds most. So
// uploads that hang take memory only while nobody else needs it. When the
// first in the queue has waited for half of its patience and nothing hangs,
// the uploads themselves are too many: the last in the queue is given up, so
// that some get through instead of all of them timing out together.
type budget struct {
	used atomic.Int64 // written under mu, read by the gauge without it

	mu        sync.Mutex
	uploads   map[*lease]struct{}
	byClient  map[netip.Addr]int64 // bytes of unfinished uploads
	waiting   []*waiter
	reclaimed time.Duration // when uploads to give up were last looked for
}

// waiter is a request for n more bytes that could not be granted at once.
type waiter struct {
	lease *lease
	n     int64
	since time.Duration
	done  chan struct{} // closed once err is final
	err   error         // under budget.mu until done
}

// processBudget is the budget of this process.
var processBudget = newBudget()

// started is the origin of the monotonic times that leases carry.
var started = time.Now()

func newBudget() *budget {
	return &budget{uploads: make(map[*lease]struct{}), byClient: make(map[netip.Addr]int64)}
}

// lease is what one request holds of the budget. Its methods are for the
// request's goroutine; close may be called any number of times, and what
// follows it has no effect.
type lease struct {
	budget    *budget
	client    netip.Addr
	limit     int64
	patience  time.Duration // what is left of admit_wait
	stall     time.Duration // how long an upload may be silent while others wait
	heard     atomic.Int64  // when the last bytes of the upload came, since started
	interrupt func()        // ends a blocked read of the upload; under budget.mu

	// under budget.mu
	held    int64
	upload  bool // not yet whole: counts to its client's share
	waiting bool
	evicted bool
	closed  bool
}

// open starts a lease for an upload of client. interrupt must make a read of
// the body that is going on or comes later fail soon; it is called at most
// once, and never after arrived or close. It may be nil.
func (b *budget) open(client netip.Addr, limit int64, wait time.Duration, interrupt func()) *lease {
	l := &lease{budget: b, client: client, limit: limit, patience: wait, stall: wait / 2, interrupt: interrupt, upload: true}
	l.progress()
	b.mu.Lock()
	b.uploads[l] = struct{}{}
	b.mu.Unlock()
	return l
}

// progress notes that bytes of the upload came in.
func (l *lease) progress() {
	l.heard.Store(int64(time.Since(started)))
}

// grow takes n more bytes, waiting for room as long as the lease has
// patience. It returns errNoRoom, errEvicted or the context's error, and then
// has taken nothing.
func (l *lease) grow(ctx context.Context, n int64) error {
	b := l.budget
	b.mu.Lock()
	if l.closed || l.evicted || n > l.limit {
		evicted := l.evicted
		b.mu.Unlock()
		if evicted {
			return errEvicted
		}
		return errNoRoom
	}
	if len(b.waiting) == 0 && b.fits(l, n) {
		b.take(l, n)
		b.mu.Unlock()
		return nil
	}
	w := &waiter{lease: l, n: n, since: time.Since(started), done: make(chan struct{})}
	b.waiting = append(b.waiting, w)
	l.waiting = true
	b.dispatch()
	b.mu.Unlock()
	return w.wait(ctx)
}

// tryGrow takes n more bytes if there is room for them now.
func (l *lease) tryGrow(n int64) bool {
	b := l.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if l.closed || l.evicted || len(b.waiting) > 0 || !b.fits(l, n) {
		return false
	}
	b.take(l, n)
	return true
}

// shrink gives n bytes back.
func (l *lease) shrink(n int64) {
	b := l.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if l.closed {
		return
	}
	b.give(l, min(n, l.held))
	b.dispatch()
}

// keep gives back all but n bytes.
func (l *lease) keep(n int64) {
	b := l.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if l.closed || l.held <= n {
		return
	}
	b.give(l, l.held-n)
	b.dispatch()
}

// arrived says that the body is whole: the lease leaves its client's share of
// uploads and can no longer be given up for others. It reports false if that
// has happened already.
func (l *lease) arrived() bool {
	b := l.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if l.closed || l.evicted {
		return false
	}
	b.endUpload(l)
	b.dispatch()
	return true
}

// wasEvicted reports whether the upload was given up for others.
func (l *lease) wasEvicted() bool {
	l.budget.mu.Lock()
	defer l.budget.mu.Unlock()
	return l.evicted
}

// close gives everything back.
func (l *lease) close() {
	b := l.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if l.closed {
		return
	}
	b.endUpload(l)
	b.give(l, l.held)
	l.closed = true
	b.dispatch()
}

// wait blocks until the waiter is served, its upload is given up, its
// patience ends or its client is gone.
func (w *waiter) wait(ctx context.Context) error {
	l := w.lease
	defer func() { l.patience = max(0, l.patience-(time.Since(started)-w.since)) }()
	tick := time.NewTicker(max(l.stall/8, time.Millisecond))
	defer tick.Stop()
	end := time.NewTimer(l.patience)
	defer end.Stop()
	for {
		l.budget.reclaim(w)
		select {
		case <-w.done:
			return w.err
		case <-tick.C:
		case <-end.C:
			return w.leave(errNoRoom)
		case <-ctx.Done():
			return w.leave(ctx.Err())
		}
	}
}

// leave takes the waiter out of the queue, unless it was served meanwhile.
func (w *waiter) leave(err error) error {
	b := w.lease.budget
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
func (b *budget) finish(w *waiter, err error) {
	w.err = err
	w.lease.waiting = false
	close(w.done)
}

// fits reports whether l may take n more bytes now.
func (b *budget) fits(l *lease, n int64) bool {
	if b.used.Load()+n > l.limit {
		return false
	}
	return !l.upload || b.byClient[l.client]+n <= l.limit/uploadShare
}

func (b *budget) take(l *lease, n int64) {
	b.used.Add(n)
	l.held += n
	if l.upload {
		b.byClient[l.client] += n
	}
}

func (b *budget) give(l *lease, n int64) {
	b.used.Add(-n)
	l.held -= n
	if l.upload {
		b.lower(l.client, n)
	}
}

// endUpload takes what l holds out of its client's share.
func (b *budget) endUpload(l *lease) {
	if !l.upload {
		return
	}
	l.upload = false
	delete(b.uploads, l)
	b.lower(l.client, l.held)
}

func (b *budget) lower(client netip.Addr, n int64) {
	if b.byClient[client] -= n; b.byClient[client] == 0 {
		delete(b.byClient, client)
	}
}

// dispatch serves waiters in order of arrival, passing over those that do not
// fit yet: their wait is bounded, and room that only a small one can use would
// otherwise lie idle.
func (b *budget) dispatch() {
	b.waiting = slices.DeleteFunc(b.waiting, func(w *waiter) bool {
		switch {
		case w.lease.evicted:
			b.finish(w, errEvicted)
		case b.fits(w.lease, w.n):
			b.take(w.lease, w.n)
			w.lease.progress() // the silence was ours, not the client's
			b.finish(w, nil)
		default:
			return false
		}
		return true
	})
}

// reclaim gives up uploads until w will fit, as far as there are any to give
// up.
func (b *budget) reclaim(w *waiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Since(started)
	if !w.lease.waiting || now-b.reclaimed < w.lease.stall/16 {
		return // many may wait at once: one look every so often is enough
	}
	b.reclaimed = now
	for missing := b.missing(w); missing > 0; {
		victim := b.victim(w, now)
		if victim == nil {
			break
		}
		victim.evicted = true
		missing -= victim.held
		if victim.interrupt != nil {
			victim.interrupt()
		}
	}
	b.dispatch() // wakes those given up while they waited
}

// missing is how many bytes must be given back before w fits, leaving out
// those that are being given up already.
func (b *budget) missing(w *waiter) int64 {
	over := b.used.Load() + w.n - w.lease.limit
	overShare := int64(0)
	if w.lease.upload {
		overShare = b.overShare(w)
	}
	for l := range b.uploads {
		if l.evicted {
			over -= l.held
			if l.client == w.lease.client {
				overShare -= l.held
			}
		}
	}
	return max(over, overShare)
}

// overShare is by how much w would pass its client's share of uploads.
func (b *budget) overShare(w *waiter) int64 {
	return b.byClient[w.lease.client] + w.n - w.lease.limit/uploadShare
}

// victim is the upload to give up next in favour of w, or nil.
func (b *budget) victim(w *waiter, now time.Duration) (best *lease) {
	own := w.lease.upload && b.overShare(w) > 0
	eligible := func(l *lease) bool {
		return l != w.lease && l.upload && !l.evicted && l.held > 0 && (!own || l.client == w.lease.client)
	}
	for l := range b.uploads {
		silent := now - time.Duration(l.heard.Load())
		if eligible(l) && !l.waiting && silent >= w.lease.stall && (best == nil || b.worse(l, best)) {
			best = l
		}
	}
	if best != nil || b.waiting[0] != w || now-w.since < w.lease.stall {
		return best
	}
	for _, o := range slices.Backward(b.waiting) {
		if eligible(o.lease) {
			return o.lease
		}
	}
	return nil
}

// worse orders stalled uploads: the address that holds most, then the larger.
func (b *budget) worse(l, than *lease) bool {
	if l.client != than.client && b.byClient[l.client] != b.byClient[than.client] {
		return b.byClient[l.client] > b.byClient[than.client]
	}
	return l.held > than.held
}

// clientAddr is the address that a request's upload is counted against: what
// Caddy takes for the client's (so trusted proxies are looked through), IPv6
// by its /64, the smallest thing that is given out to one customer. Requests
// without an address (unix sockets) count together.
func clientAddr(r *http.Request) netip.Addr {
	text, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	addr, err := netip.ParseAddr(text)
	if err != nil {
		peer, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil {
			return netip.Addr{}
		}
		addr = peer.Addr()
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		if p, err := addr.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return addr
}
