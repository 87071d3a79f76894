// SPDX-License-Identifier: Apache-2.0

// Package admission lets requests in under one memory limit. A [Queue] counts
// the bytes that all requests hold. A request that finds no room waits in the
// queue; these rules decide which request gets room, and which gives it up:
//
//   - Wait. A request waits at most MaxWait in all. Requests that already hold
//     bytes are served before those that hold none.
//   - Announcements. An upload starts when its announced size fits beside the
//     announced sizes of the uploads before it that make progress. After half of
//     its wait it starts with the room there is: announcing costs nothing. Each
//     client may start a small part of the limit, whatever others announced.
//   - Preemption. An upload without progress for half of MaxWait is preempted
//     when another request waits. If that request's client has filled its share,
//     only uploads of the same client are preempted, else those of the client
//     that holds most, the largest first. Stalled uploads therefore hold memory
//     only while no other request needs it.
//   - Aging and fair share. A request that has waited for a quarter of MaxWait,
//     and asks for no more than other clients hold, takes its room from the
//     client that holds most, stalled or not. Preempted bytes are reserved for
//     the request they were freed for.
//   - Shedding. When the longest wait has lasted half of MaxWait and nothing is
//     stalled, there are too many uploads: the later half of the waiting uploads
//     is preempted, so that some complete and not all of them time out together.
package admission

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// UploadShare: the unfinished uploads of one client may fill one part in
	// UploadShare of the limit. Complete bodies do not count, so the share slows
	// down a client whose uploads do not end, and no busy client.
	UploadShare = 2

	// RetainShare: bytes that outlive their request may fill one part in
	// RetainShare of the limit. Work beside the requests must not keep requests
	// out.
	RetainShare = 8
)

var (
	// ErrNoRoom says that no room came free in time.
	ErrNoRoom = errors.New("no room under the in-flight limit")
	// ErrPreempted says that the upload was ended to make room for others.
	ErrPreempted = errors.New("upload preempted")
)

// Queue counts the bytes that all requests of a process hold. Each request
// compares the sum with a limit of its own. A Queue is safe for concurrent use.
type Queue struct {
	start time.Time
	used  atomic.Int64 // written under mu

	mu       sync.Mutex
	uploads  map[*Lease]struct{} // the incomplete ones
	total    tally               // of all uploads
	clients  map[netip.Addr]*tally
	waiting  []*waiter     // in order of arrival
	reserved int64         // bytes being freed for waiters
	retained int64         // the part of used that outlives its request
	lastPass time.Duration // when makeRoom last looked at all uploads
}

// tally sums up uploads. pending counts the announced bytes still to come of
// those that hold any.
type tally struct {
	uploads       int
	held, pending int64
}

// New returns an empty Queue.
func New() *Queue {
	return &Queue{start: time.Now(), uploads: make(map[*Lease]struct{}), clients: make(map[netip.Addr]*tally)}
}

// now returns the monotonic time since the start.
func (q *Queue) now() time.Duration { return time.Since(q.start) }

// Used returns the number of bytes that all leases hold. It takes no lock.
func (q *Queue) Used() int64 { return q.used.Load() }

// Stats is a snapshot of a Queue.
type Stats struct {
	Used     int64 // bytes held by all leases
	Retained int64 // the part of Used that outlives its request
	Uploads  int   // incomplete uploads
	Waiting  int   // requests that wait for room
}

// Stats returns a snapshot.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	return Stats{Used: q.used.Load(), Retained: q.retained, Uploads: len(q.uploads), Waiting: len(q.waiting)}
}

// Unretain takes back n bytes of [Lease.TryRetain]. The lease that holds them
// is not changed.
func (q *Queue) Unretain(n int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.retained -= n
}

// fits reports whether l may take n more bytes now. An upload that holds
// nothing yet leaves room for those that have started, unless it is overdue:
// many started uploads that cannot end would all be refused.
func (q *Queue) fits(l *Lease, n int64, overdue bool) bool {
	used := q.used.Load()
	if used+n > l.Limit {
		return false
	}
	if !l.uploading {
		return true
	}
	c := q.clients[l.Client]
	share := l.Limit / UploadShare
	if c.held+n > share {
		return false
	}
	if l.held > 0 || overdue {
		return true
	}
	more := max(n, l.Announced)
	if c.held+c.pending+more <= share/int64(len(q.clients)) {
		return true // an equal part of the share: announcements of others do not count
	}
	fitsAll := used == 0 || used+q.total.pending+more <= l.Limit/4*3
	fitsShare := c.held == 0 || c.held+c.pending+more <= share
	return fitsAll && fitsShare
}

// tryCharge charges n bytes to l if they fit and no lease waits.
func (q *Queue) tryCharge(l *Lease, n int64) bool {
	if l.closed || l.Preempted() || len(q.waiting) > 0 || !q.fits(l, n, false) {
		return false
	}
	q.charge(l, n)
	return true
}

// charge adds n bytes, which may be negative, to l.
func (q *Queue) charge(l *Lease, n int64) {
	q.used.Add(n)
	l.held += n
	if !l.uploading {
		return
	}
	for _, t := range [...]*tally{&q.total, q.clients[l.Client]} {
		t.held += n
	}
	pending := int64(0)
	if l.held > 0 {
		pending = max(0, l.Announced-l.held)
	}
	q.setPending(l, pending)
}

// setPending sets the bytes that l is expected to need beside those it holds.
func (q *Queue) setPending(l *Lease, pending int64) {
	for _, t := range [...]*tally{&q.total, q.clients[l.Client]} {
		t.pending += pending - l.pending
	}
	l.pending = pending
}

// endUpload removes l from the uploads and their tallies.
func (q *Queue) endUpload(l *Lease) {
	if !l.uploading {
		return
	}
	l.uploading = false
	delete(q.uploads, l)
	for _, t := range [...]*tally{&q.total, q.clients[l.Client]} {
		t.uploads--
		t.held -= l.held
		t.pending -= l.pending
	}
	l.pending = 0
	if q.clients[l.Client].uploads == 0 {
		delete(q.clients, l.Client)
	}
}
