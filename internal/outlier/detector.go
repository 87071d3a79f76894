// SPDX-License-Identifier: Apache-2.0

package outlier

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Detector holds the failures of all upstreams, by address. It is safe for
// concurrent use.
type Detector struct {
	now      func() time.Time
	observer Observer

	// troubled and nextDue let Quiet answer without the lock: the number
	// of upstreams with a failure that still counts, and the time in Unix
	// nanoseconds at which the next answer can be overdue.
	troubled atomic.Int32
	nextDue  atomic.Int64

	mu        sync.Mutex
	upstreams map[string]*upstream
}

// Observer is told of what the detector finds. It is called without locks.
type Observer interface {
	// Failed is called for each failed attempt.
	Failed(address string, k Kind)
	// Ejected is called when an upstream is left out, for the given time and
	// because of a failure of the given kind.
	Ejected(address string, k Kind, d time.Duration)
	// Returned is called when an upstream that was left out has answered again.
	Returned(address string)
}

// New returns a Detector that knows of no failures.
func New(now func() time.Time, o Observer) *Detector {
	d := &Detector{now: now, observer: o, upstreams: make(map[string]*upstream)}
	d.nextDue.Store(math.MaxInt64)
	return d
}

// Quiet reports whether every upstream is ready and costs nothing extra. It takes
// no lock.
func (d *Detector) Quiet() bool {
	return d.troubled.Load() == 0 && d.now().UnixNano() < d.nextDue.Load()
}

// Assess fills in the State and the Penalty of each address. out has the length of
// addresses.
func (d *Detector) Assess(addresses []string, out []Assessment) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	d.findOverdue(now)
	for i, address := range addresses {
		out[i] = Assessment{Takes: true}
		if u := d.upstreams[address]; u != nil {
			out[i] = u.assess(now)
		}
	}
	d.countTroubled(now)
}

// findOverdue looks for answers that are overdue, when there can be any. It reports
// whether it has looked. The caller holds mu.
func (d *Detector) findOverdue(now time.Time) bool {
	if now.UnixNano() < d.nextDue.Load() {
		return false
	}
	next := int64(math.MaxInt64)
	for _, u := range d.upstreams {
		u.overdueSince = time.Time{}
		for _, a := range u.inFlight {
			due := a.dueAt()
			switch {
			case due.IsZero():
			case due.After(now):
				next = min(next, due.UnixNano())
			default:
				if sent := a.waitsSince(); u.overdueSince.IsZero() || sent.Before(u.overdueSince) {
					u.overdueSince = sent
				}
				next = min(next, now.Add(overdueInterval).UnixNano())
			}
		}
	}
	d.nextDue.Store(next)
	return true
}

// overdueInterval is the time between two searches for overdue answers while there
// are some.
const overdueInterval = 250 * time.Millisecond

// countTroubled counts the upstreams that are not as good as new. The caller holds
// mu.
func (d *Detector) countTroubled(now time.Time) {
	n := int32(0)
	for _, u := range d.upstreams {
		if u.isTroubled(now) {
			n++
		}
	}
	d.troubled.Store(n)
}

// maxUpstreams bounds the number of upstreams that are remembered: addresses with
// placeholders can be a client's choice. More are taken for ready.
const maxUpstreams = 4096

// upstream returns the state of an address, new if need be. The caller holds mu.
func (d *Detector) upstream(address string) *upstream {
	u := d.upstreams[address]
	if u == nil {
		u = new(upstream)
		if len(d.upstreams) < maxUpstreams {
			d.upstreams[address] = u
		}
	}
	u.lastUsed = d.now()
	return u
}

// Sweep forgets upstreams that no attempt was made at for an hour. Call it now and
// then.
func (d *Detector) Sweep() {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	for address, u := range d.upstreams {
		if len(u.inFlight) == 0 && now.Sub(u.lastUsed) > upstreamTTL {
			delete(d.upstreams, address)
		}
	}
	d.countTroubled(now)
}

const upstreamTTL = time.Hour

// Forget drops what is remembered of an upstream, except for attempts under way.
func (d *Detector) Forget(address string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if u := d.upstreams[address]; u != nil && len(u.inFlight) > 0 {
		*u = upstream{lastUsed: u.lastUsed, inFlight: u.inFlight}
	} else {
		delete(d.upstreams, address)
	}
	d.countTroubled(d.now())
}

// Report describes what is remembered of an upstream.
type Report struct {
	State        State
	Failed       bool          // it has failed at some time
	Kind         Kind          // of the last failure
	InARow       int           // failures since the last success
	FailureShare float64       // lately, fading
	Left         time.Duration // until it may be probed; 0: now
	InFlight     int           // attempts under way
	Overdue      time.Duration // since the oldest overdue answer was asked for; 0: none is overdue
}

// Report describes one upstream; ok is false when nothing is remembered of it.
func (d *Detector) Report(address string) (r Report, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	u := d.upstreams[address]
	if u == nil {
		return r, false
	}
	now := d.now()
	if d.findOverdue(now) {
		d.countTroubled(now)
	}
	return u.report(now), true
}

// State returns the part that an upstream takes in routing.
func (d *Detector) State(address string) State {
	d.mu.Lock()
	defer d.mu.Unlock()
	if u := d.upstreams[address]; u != nil {
		return u.state(d.now())
	}
	return Ready
}

// Ejected returns the addresses of all remembered upstreams, and whether each is
// left out at the moment.
func (d *Detector) Ejected() map[string]bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	ejected := make(map[string]bool, len(d.upstreams))
	for address, u := range d.upstreams {
		ejected[address] = u.out
	}
	return ejected
}

// removeAttempt takes an attempt off its upstream's attempts under way. The caller
// holds mu.
func (u *upstream) removeAttempt(a *Attempt) {
	if i := slices.Index(u.inFlight, a); i >= 0 {
		last := len(u.inFlight) - 1
		u.inFlight[i] = u.inFlight[last]
		u.inFlight[last] = nil
		u.inFlight = u.inFlight[:last]
	}
}
