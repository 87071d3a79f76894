// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// uploadShare: the unfinished uploads of one client address may fill one part
// in uploadShare of an in-flight limit. Bodies that have arrived whole are no
// longer uploads, so a busy client behind one address is not slowed down by
// the share, only one whose uploads do not end.
const UploadShare = 2

// RetainShare: what is kept beyond the request may fill one part in
// RetainShare of an in-flight limit. Work beside the requests must not keep
// requests out.
const RetainShare = 8

var (
	ErrNoRoom    = errors.New("no room under the in-flight limit")
	ErrPreempted = errors.New("upload given up for want of room")
)

// budget counts the bytes that all requests of the process hold: bodies as
// they arrive, scrubbed copies, vaults and what opens compressed data. There
// is one for the process, because the memory is the process's; each handler
// compares it with a limit of its own. How requests wait for room, and who
// yields to whom, is in queue.go.
type Queue struct {
	epoch time.Time
	used  atomic.Int64 // written under mu, read by the gauge without it

	mu       sync.Mutex
	uploads  map[*Lease]struct{} // that are not whole yet
	total    tally               // of all uploads
	clients  map[netip.Addr]*tally
	waiting  []*waiter
	reserved int64         // room that is made for some of them
	retained int64         // how much of used outlives its request
	lastPass time.Duration // when stalled uploads were last looked for
}

// account sums up uploads: what they hold, and what those that have begun will
// hold beyond that if they send what they announced.
type tally struct {
	uploads       int
	held, pending int64
}

func New() *Queue {
	return &Queue{epoch: time.Now(), uploads: make(map[*Lease]struct{}), clients: make(map[netip.Addr]*tally)}
}

// now is the monotonic time that leases carry.
func (b *Queue) now() time.Duration { return time.Since(b.epoch) }

// lease is what one request holds of the budget. Its methods are for the
// request's goroutine; close may be called any number of times, and what
// follows it has no effect.
type Lease struct {
	Request
	queue         *Queue
	stallAfter    time.Duration // how long an upload may be silent while others wait
	lastProgress  atomic.Int64  // when the upload last moved
	sinceProgress int64         // bytes that came since then; for the request's goroutine

	// under budget.mu
	held      int64
	pending   int64
	uploading bool // not yet whole
	waiting   bool
	preempted bool
	closed    bool
}

// terms are the conditions of a lease.
type Request struct {
	Client    netip.Addr
	Limit     int64         // of the whole budget, as far as this request is concerned
	MaxWait   time.Duration // how long the request may wait for room, all in all
	Announced int64         // how large the body will be; -1: not known
	// interrupt makes a read of the body that is going on or comes later fail
	// soon. It is called under budget.mu, at most once, and never after arrived
	// or close. It may be nil.
	Interrupt func()
}

// open starts a lease for an upload.
func (b *Queue) Open(t Request) *Lease {
	l := &Lease{Request: t, queue: b, stallAfter: t.MaxWait / 2, uploading: true}
	l.touch()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.uploads[l] = struct{}{}
	c := b.clients[l.Client]
	if c == nil {
		c = new(tally)
		b.clients[l.Client] = c
	}
	c.uploads++
	b.total.uploads++
	return l
}

// An upload moves when one part in pace of what it holds has come since it last
// did, or paceMost bytes. One that moves less than every half of admit_wait
// would take a minute to fill what it holds (with the default of 1s): it is as
// good as stalled, however often it sends a byte.
const (
	progressPart = 64
	progressMax  = 64 << 10
)

// progress notes that n bytes of the upload came in.
func (l *Lease) Progress(n int) {
	// Only this goroutine changes held, or others while it waits.
	if l.sinceProgress += int64(n); l.sinceProgress >= min(l.held/progressPart, progressMax) {
		l.touch()
	}
}

// moved starts the time anew after which the upload counts as stalled.
func (l *Lease) touch() {
	l.sinceProgress = 0
	l.lastProgress.Store(int64(l.queue.now()))
}

// grow takes n more bytes, waiting for room as long as the lease has
// patience. It returns errNoRoom, errEvicted or the context's error, and then
// has taken nothing.
func (l *Lease) Grow(ctx context.Context, n int64) error {
	b := l.queue
	b.mu.Lock()
	switch {
	case l.preempted:
		b.mu.Unlock()
		return ErrPreempted
	case l.closed || n > l.Limit:
		b.mu.Unlock()
		return ErrNoRoom
	case len(b.waiting) == 0 && b.fits(l, n, false):
		b.charge(l, n)
		b.mu.Unlock()
		return nil
	}
	w := b.enqueue(l, n)
	b.mu.Unlock()
	return w.wait(ctx)
}

// tryGrow takes n more bytes if there is room for them now.
func (l *Lease) TryGrow(n int64) bool {
	b := l.queue
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.tryCharge(l, n)
}

// takeNow is tryGrow under the budget's lock.
func (b *Queue) tryCharge(l *Lease, n int64) bool {
	if l.closed || l.preempted || len(b.waiting) > 0 || !b.fits(l, n, false) {
		return false
	}
	b.charge(l, n)
	return true
}

// force takes n more bytes, or gives them back when n is negative, whether or
// not there is room: for what is under way and cannot be stopped any more.
// Others are kept out until there is room again.
func (l *Lease) Force(n int64) {
	b := l.queue
	b.mu.Lock()
	defer b.mu.Unlock()
	if l.closed {
		return
	}
	b.charge(l, max(n, -l.held))
	if n < 0 {
		b.dispatch()
	}
}

// shrink gives n bytes back.
func (l *Lease) Shrink(n int64) { l.lower(func(held int64) int64 { return held - n }) }

// keep gives back all but n bytes.
func (l *Lease) ShrinkTo(n int64) { l.lower(func(int64) int64 { return n }) }

// split moves n bytes, or all there are when there are less, to a lease of
// their own, for what outlives the request.
func (l *Lease) Split(n int64) *Lease {
	b := l.queue
	b.mu.Lock()
	defer b.mu.Unlock()
	n = min(n, l.held)
	b.charge(l, -n)
	other := &Lease{Request: l.Request, queue: b}
	b.charge(other, n)
	return other
}

// giveBack lowers what is held to what rest says.
func (l *Lease) lower(rest func(held int64) int64) {
	b := l.queue
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := l.held - max(rest(l.held), 0); n > 0 {
		b.charge(l, -n)
		b.dispatch()
	}
}

// arrived says that the body is whole: the lease leaves its client's share of
// uploads and can no longer be given up for others. It reports false when it
// has been given up already.
func (l *Lease) Complete() bool {
	b := l.queue
	b.mu.Lock()
	defer b.mu.Unlock()
	if l.closed || l.preempted {
		return false
	}
	b.endUpload(l)
	b.dispatch()
	return true
}

// wasEvicted reports whether the upload was given up for others.
func (l *Lease) Preempted() bool {
	l.queue.mu.Lock()
	defer l.queue.mu.Unlock()
	return l.preempted
}

// close gives everything back.
func (l *Lease) Close() {
	b := l.queue
	b.mu.Lock()
	defer b.mu.Unlock()
	if l.closed {
		return
	}
	b.endUpload(l)
	b.charge(l, -l.held)
	l.closed = true
	b.dispatch()
}

// fits reports whether l may take n more bytes now. An upload that has not
// begun leaves room for those that have, unless it is impatient: many that
// have begun and cannot end would all be refused.
func (b *Queue) fits(l *Lease, n int64, impatient bool) bool {
	used := b.used.Load()
	if used+n > l.Limit {
		return false
	}
	if !l.uploading {
		return true
	}
	c := b.clients[l.Client]
	share := l.Limit / UploadShare
	if c.held+n > share {
		return false
	}
	if l.held > 0 || impatient {
		return true
	}
	more := max(n, l.Announced)
	if c.held+c.pending+more <= share/int64(len(b.clients)) {
		return true // who wants no more than others may have waits for nobody's announcement
	}
	return (used == 0 || used+b.total.pending+more <= l.Limit/4*3) && (c.held == 0 || c.held+c.pending+more <= share)
}

// take changes what l holds by n bytes.
func (b *Queue) charge(l *Lease, n int64) {
	b.used.Add(n)
	l.held += n
	if !l.uploading {
		return
	}
	for _, a := range [...]*tally{&b.total, b.clients[l.Client]} {
		a.held += n
	}
	promise := int64(0)
	if l.held > 0 {
		promise = max(0, l.Announced-l.held)
	}
	b.setPending(l, promise)
}

// expect changes what l is taken to need beyond what it holds.
func (b *Queue) setPending(l *Lease, promise int64) {
	for _, a := range [...]*tally{&b.total, b.clients[l.Client]} {
		a.pending += promise - l.pending
	}
	l.pending = promise
}

// endUpload takes l out of the accounts of uploads.
func (b *Queue) endUpload(l *Lease) {
	if !l.uploading {
		return
	}
	l.uploading = false
	delete(b.uploads, l)
	for _, a := range [...]*tally{&b.total, b.clients[l.Client]} {
		a.uploads--
		a.held -= l.held
		a.pending -= l.pending
	}
	l.pending = 0
	if b.clients[l.Client].uploads == 0 {
		delete(b.clients, l.Client)
	}
}

// TryRetain grows l by n bytes if there is room for them now and for keeping all
// bytes of it beyond the request.
func (l *Lease) TryRetain(n, all int64) bool {
	b := l.queue
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.retained+all > l.Limit/RetainShare || !b.tryCharge(l, n) {
		return false
	}
	b.retained += all
	return true
}

// Unretain says that so many bytes are kept no longer.
func (b *Queue) Unretain(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.retained -= n
}

// Used returns how many bytes all leases hold.
func (b *Queue) Used() int64 { return b.used.Load() }

// Stats is a snapshot of a Queue.
type Stats struct {
	Used, Retained   int64 // bytes
	Uploads, Waiting int
}

// Stats returns how full the queue is now.
func (b *Queue) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Stats{Used: b.used.Load(), Retained: b.retained, Uploads: len(b.uploads), Waiting: len(b.waiting)}
}
