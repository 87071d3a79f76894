// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// uploadShare: the unfinished uploads of one client address may fill one part
// in uploadShare of an in-flight limit. Bodies that have arrived whole are no
// longer uploads, so a busy client behind one address is not slowed down by
// the share, only one whose uploads do not end.
const uploadShare = 2

var (
	errNoRoom  = errors.New("no room under the in-flight limit")
	errEvicted = errors.New("upload given up for want of room")
)

// budget counts the bytes that all requests of the process hold: bodies as
// they arrive, scrubbed copies, vaults and what opens compressed data. There
// is one for the process, because the memory is the process's; each handler
// compares it with a limit of its own. How requests wait for room, and who
// yields to whom, is in queue.go.
type budget struct {
	epoch time.Time
	used  atomic.Int64 // written under mu, read by the gauge without it

	mu        sync.Mutex
	uploads   map[*lease]struct{} // that are not whole yet
	all       account             // of all uploads
	clients   map[netip.Addr]*account
	waiting   []*waiter
	kept      int64         // room that is made for some of them
	retained  int64         // how much of used outlives its request
	reclaimed time.Duration // when stalled uploads were last looked for
}

// account sums up uploads: what they hold, and what those that have begun will
// hold beyond that if they send what they announced.
type account struct {
	uploads       int
	held, promise int64
}

// processBudget is the budget of this process.
var processBudget = newBudget()

func newBudget() *budget {
	return &budget{epoch: time.Now(), uploads: make(map[*lease]struct{}), clients: make(map[netip.Addr]*account)}
}

// now is the monotonic time that leases carry.
func (b *budget) now() time.Duration { return time.Since(b.epoch) }

// lease is what one request holds of the budget. Its methods are for the
// request's goroutine; close may be called any number of times, and what
// follows it has no effect.
type lease struct {
	terms
	budget *budget
	stall  time.Duration // how long an upload may be silent while others wait
	heard  atomic.Int64  // when the upload last moved
	fresh  int64         // bytes that came since then; for the request's goroutine

	// under budget.mu
	held    int64
	promise int64
	upload  bool // not yet whole
	waiting bool
	evicted bool
	closed  bool
}

// terms are the conditions of a lease.
type terms struct {
	client    netip.Addr
	limit     int64         // of the whole budget, as far as this request is concerned
	patience  time.Duration // how long the request may wait for room, all in all
	announced int64         // how large the body will be; -1: not known
	// interrupt makes a read of the body that is going on or comes later fail
	// soon. It is called under budget.mu, at most once, and never after arrived
	// or close. It may be nil.
	interrupt func()
}

// open starts a lease for an upload.
func (b *budget) open(t terms) *lease {
	l := &lease{terms: t, budget: b, stall: t.patience / 2, upload: true}
	l.moved()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.uploads[l] = struct{}{}
	c := b.clients[l.client]
	if c == nil {
		c = new(account)
		b.clients[l.client] = c
	}
	c.uploads++
	b.all.uploads++
	return l
}

// An upload moves when one part in pace of what it holds has come since it last
// did, or paceMost bytes. One that moves less than every half of admit_wait
// would take a minute to fill what it holds (with the default of 1s): it is as
// good as stalled, however often it sends a byte.
const (
	pace     = 64
	paceMost = 64 << 10
)

// progress notes that n bytes of the upload came in.
func (l *lease) progress(n int) {
	// Only this goroutine changes held, or others while it waits.
	if l.fresh += int64(n); l.fresh >= min(l.held/pace, paceMost) {
		l.moved()
	}
}

// moved starts the time anew after which the upload counts as stalled.
func (l *lease) moved() {
	l.fresh = 0
	l.heard.Store(int64(l.budget.now()))
}

// grow takes n more bytes, waiting for room as long as the lease has
// patience. It returns errNoRoom, errEvicted or the context's error, and then
// has taken nothing.
func (l *lease) grow(ctx context.Context, n int64) error {
	b := l.budget
	b.mu.Lock()
	switch {
	case l.evicted:
		b.mu.Unlock()
		return errEvicted
	case l.closed || n > l.limit:
		b.mu.Unlock()
		return errNoRoom
	case len(b.waiting) == 0 && b.fits(l, n, false):
		b.take(l, n)
		b.mu.Unlock()
		return nil
	}
	w := b.enqueue(l, n)
	b.mu.Unlock()
	return w.wait(ctx)
}

// tryGrow takes n more bytes if there is room for them now.
func (l *lease) tryGrow(n int64) bool {
	b := l.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.takeNow(l, n)
}

// takeNow is tryGrow under the budget's lock.
func (b *budget) takeNow(l *lease, n int64) bool {
	if l.closed || l.evicted || len(b.waiting) > 0 || !b.fits(l, n, false) {
		return false
	}
	b.take(l, n)
	return true
}

// force takes n more bytes, or gives them back when n is negative, whether or
// not there is room: for what is under way and cannot be stopped any more.
// Others are kept out until there is room again.
func (l *lease) force(n int64) {
	b := l.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if l.closed {
		return
	}
	b.take(l, max(n, -l.held))
	if n < 0 {
		b.dispatch()
	}
}

// shrink gives n bytes back.
func (l *lease) shrink(n int64) { l.giveBack(func(held int64) int64 { return held - n }) }

// keep gives back all but n bytes.
func (l *lease) keep(n int64) { l.giveBack(func(int64) int64 { return n }) }

// split moves n bytes, or all there are when there are less, to a lease of
// their own, for what outlives the request.
func (l *lease) split(n int64) *lease {
	b := l.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	n = min(n, l.held)
	b.take(l, -n)
	other := &lease{terms: l.terms, budget: b}
	b.take(other, n)
	return other
}

// giveBack lowers what is held to what rest says.
func (l *lease) giveBack(rest func(held int64) int64) {
	b := l.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := l.held - max(rest(l.held), 0); n > 0 {
		b.take(l, -n)
		b.dispatch()
	}
}

// arrived says that the body is whole: the lease leaves its client's share of
// uploads and can no longer be given up for others. It reports false when it
// has been given up already.
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
	b.take(l, -l.held)
	l.closed = true
	b.dispatch()
}

// fits reports whether l may take n more bytes now. An upload that has not
// begun leaves room for those that have, unless it is impatient: many that
// have begun and cannot end would all be refused.
func (b *budget) fits(l *lease, n int64, impatient bool) bool {
	used := b.used.Load()
	if used+n > l.limit {
		return false
	}
	if !l.upload {
		return true
	}
	c := b.clients[l.client]
	share := l.limit / uploadShare
	if c.held+n > share {
		return false
	}
	if l.held > 0 || impatient {
		return true
	}
	more := max(n, l.announced)
	if c.held+c.promise+more <= share/int64(len(b.clients)) {
		return true // who wants no more than others may have waits for nobody's announcement
	}
	return (used == 0 || used+b.all.promise+more <= l.limit/4*3) && (c.held == 0 || c.held+c.promise+more <= share)
}

// take changes what l holds by n bytes.
func (b *budget) take(l *lease, n int64) {
	b.used.Add(n)
	l.held += n
	if !l.upload {
		return
	}
	for _, a := range [...]*account{&b.all, b.clients[l.client]} {
		a.held += n
	}
	promise := int64(0)
	if l.held > 0 {
		promise = max(0, l.announced-l.held)
	}
	b.expect(l, promise)
}

// expect changes what l is taken to need beyond what it holds.
func (b *budget) expect(l *lease, promise int64) {
	for _, a := range [...]*account{&b.all, b.clients[l.client]} {
		a.promise += promise - l.promise
	}
	l.promise = promise
}

// endUpload takes l out of the accounts of uploads.
func (b *budget) endUpload(l *lease) {
	if !l.upload {
		return
	}
	l.upload = false
	delete(b.uploads, l)
	for _, a := range [...]*account{&b.all, b.clients[l.client]} {
		a.uploads--
		a.held -= l.held
		a.promise -= l.promise
	}
	l.promise = 0
	if b.clients[l.client].uploads == 0 {
		delete(b.clients, l.client)
	}
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
