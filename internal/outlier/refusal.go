// SPDX-License-Identifier: Apache-2.0

package outlier

import "time"

// doubtAfter is the number of refusals in a row after which it is asked whether
// they are the upstream's own fault.
const doubtAfter = 3

// Refused notes an answer with an error that may be the client's, such as 400. It
// is neither a success nor a failure. But an upstream that does nothing but refuse
// may have the wrong model, key or version: doubtful then says that another
// upstream should be asked too, see Contradicted and Confirmed. Otherwise a client
// that sends bad requests could get healthy upstreams ejected.
func (a *Attempt) Refused() (doubtful bool) {
	out, returned := time.Duration(0), false
	a.end(func(u *upstream, now time.Time) {
		u.refusals++
		doubtful = u.refusals >= doubtAfter
		switch {
		case u.out && a.probe && u.contradicted:
			out = u.failed(a, Status, 0, now)
		case u.out && a.probe:
			returned = u.succeeded(now, true)
		}
	})
	if out > 0 {
		a.detector.observer.Failed(a.address, Status)
		a.detector.observer.Ejected(a.address, Status, out)
	}
	if returned {
		a.detector.observer.Returned(a.address)
	}
	return doubtful
}

// Contradicted notes that another upstream has accepted what this one refused: the
// refusals are its own failures, and it is left out.
func (a *Attempt) Contradicted() {
	d := a.detector
	d.mu.Lock()
	u, now := d.upstream(a.address), d.now()
	out := time.Duration(0)
	if !u.out && !a.options.Off {
		u.kind, u.hasFailed, u.failedAt, u.contradicted = Status, true, now, true
		u.learn(now, 1)
		out = u.eject(a.options, now)
		d.countTroubled(now)
	}
	d.mu.Unlock()
	d.observer.Failed(a.address, Status)
	if out > 0 {
		d.observer.Ejected(a.address, Status, out)
	}
}

// Confirmed notes that another upstream has refused the same request: the fault is
// the client's.
func (a *Attempt) Confirmed() {
	d := a.detector
	d.mu.Lock()
	defer d.mu.Unlock()
	d.upstream(a.address).refusals = 0
}
