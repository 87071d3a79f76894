// SPDX-License-Identifier: Apache-2.0

package outlier

import (
	"sync/atomic"
	"time"
)

// stallTime is the time without any byte after which an answer that has begun is
// overdue. Engines that buffer a whole tool call are silent for seconds.
const stallTime = 20 * time.Second

// Attempt is one try to send a request to an upstream. Exactly one of Succeed,
// Refused, Fail and Release ends it; later calls do nothing.
type Attempt struct {
	detector *Detector
	address  string
	options  Options
	due      time.Duration // after which it is overdue; 0: never
	probe    bool

	sent     time.Time    // zero: it has not started
	progress atomic.Int64 // when the last byte came, in Unix nanoseconds; 0: none has
	ended    bool         // the detector's mu guards it
}

// NewAttempt returns an attempt at the upstream that was picked for a request. due
// is the time after which the first byte of its answer is overdue, 0 for never. If
// the upstream is half-open, the attempt is its probe, unless there is one.
//
// An attempt that is not started has no effect, and need not be ended.
func (d *Detector) NewAttempt(address string, due time.Duration, o Options) *Attempt {
	a := &Attempt{detector: d, address: address, options: o, due: due}
	if d.troubled.Load() == 0 {
		return a
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	if u := d.upstreams[address]; u != nil && u.state(now) == HalfOpen && u.assess(now).Takes {
		a.probe = true
		u.claimedUntil = now.Add(claimTime)
	}
	return a
}

// claimTime is the time within which a probe has to start. Between the pick and
// the start there is only Caddy's preparation of the request.
const claimTime = time.Second

// Address returns the upstream's address.
func (a *Attempt) Address() string { return a.address }

// Probe reports whether the attempt probes an upstream that was left out.
func (a *Attempt) Probe() bool { return a.probe }

// Due returns the time after which the answer's first byte is overdue, 0 for never.
func (a *Attempt) Due() time.Duration { return a.due }

// Start notes that the request is being sent.
func (a *Attempt) Start() {
	d := a.detector
	d.mu.Lock()
	defer d.mu.Unlock()
	u := d.upstream(a.address)
	a.sent = d.now()
	u.inFlight = append(u.inFlight, a)
	u.probing = u.probing || a.probe
	if a.due > 0 {
		if due := a.sent.Add(a.due).UnixNano(); due < d.nextDue.Load() {
			d.nextDue.Store(due)
		}
	}
}

// Progress notes that a part of the answer has come.
func (a *Attempt) Progress() { a.progress.Store(a.detector.now().UnixNano()) }

// waitsSince returns the time since which the attempt waits for the next byte.
func (a *Attempt) waitsSince() time.Time {
	if last := a.progress.Load(); last != 0 {
		return time.Unix(0, last)
	}
	return a.sent
}

// dueAt returns the time at which the next byte is overdue; zero: never.
func (a *Attempt) dueAt() time.Time {
	switch {
	case a.progress.Load() != 0:
		return a.waitsSince().Add(stallTime)
	case a.due > 0:
		return a.sent.Add(a.due)
	}
	return time.Time{}
}

// Succeed notes that the whole answer has come.
func (a *Attempt) Succeed() {
	returned := false
	a.end(func(u *upstream, now time.Time) { returned = u.succeeded(now, a.probe) })
	if returned {
		a.detector.observer.Returned(a.address)
	}
}

// Fail notes that the attempt has failed. retryAfter is the time that a Limited
// upstream asks to wait, 0 without one.
func (a *Attempt) Fail(k Kind, retryAfter time.Duration) {
	ejected, ended := time.Duration(0), false
	a.end(func(u *upstream, now time.Time) {
		ended = true
		ejected = u.failed(a, k, retryAfter, now)
	})
	if !ended {
		return
	}
	a.detector.observer.Failed(a.address, k)
	if ejected > 0 {
		a.detector.observer.Ejected(a.address, k, ejected)
	}
}

// Release ends an attempt that says nothing of the upstream, because its client
// left. If the answer was overdue, the attempt has failed.
func (a *Attempt) Release() {
	due := a.dueAt()
	if !a.sent.IsZero() && !due.IsZero() && !a.detector.now().Before(due) {
		a.Fail(Stalled, 0)
		return
	}
	a.end(func(*upstream, time.Time) {})
}

// end takes the attempt off its upstream once, and has the outcome noted.
func (a *Attempt) end(note func(*upstream, time.Time)) {
	d := a.detector
	d.mu.Lock()
	defer d.mu.Unlock()
	if a.ended || a.sent.IsZero() {
		return
	}
	a.ended = true
	u, now := d.upstream(a.address), d.now()
	u.removeAttempt(a)
	if a.probe {
		u.probing, u.claimedUntil = false, time.Time{}
	}
	note(u, now)
	if !u.overdueSince.IsZero() {
		d.nextDue.Store(0) // look anew
	}
	if d.findOverdue(now) || d.troubled.Load() > 0 || u.isTroubled(now) {
		d.countTroubled(now)
	}
}
