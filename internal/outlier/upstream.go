// SPDX-License-Identifier: Apache-2.0

package outlier

import (
	"math"
	"time"
)

const (
	// slowStart is the time for which an upstream that has returned takes only as
	// many requests at once as it has answered since, and one more.
	slowStart = 10 * time.Second

	// The times for which a busy upstream is left out without a Retry-After. The
	// first is short: it is about to finish some of its requests.
	firstLimit = 250 * time.Millisecond
	maxLimit   = 5 * time.Second
	// maxRetryAfter bounds the Retry-After that is honoured.
	maxRetryAfter = 2 * time.Minute

	// shareStep is the weight of one attempt in the failure share: the last three
	// or so attempts make most of it, as they do for ejection.
	shareStep = 0.3
	// shareHalfLife is the time in which the failure share halves without attempts.
	shareHalfLife = 3 * time.Second
	// negligible is the failure share below which it counts as nothing.
	negligible = 0.01
	// trialAfter is the time after a failure after which one request at a time goes
	// to an upstream that was not ejected as if it had not failed. Otherwise one
	// hiccup would keep a lightly loaded upstream without requests until the failure
	// share has faded. After a hang it has to fade: a trial would cost too much.
	trialAfter = 2 * time.Second
	// failedAttemptCost is the assumed cost of a failed attempt: the time until it
	// fails, and the prefill at another upstream.
	failedAttemptCost = 2 * time.Second
	// maxShare bounds the failure share in the cost, which would be infinite at 1.
	maxShare = 0.9
)

// State is the part that an upstream takes in routing.
type State uint8

const (
	Ready     State = iota // it takes requests
	Returning              // it was left out and starts slowly
	HalfOpen               // it was left out, and one request may probe it
	Busy                   // left out because it is rate limited
	Out                    // left out because it failed
)

var stateNames = [...]string{"ready", "returning", "half-open", "limited", "ejected"}

// String returns the state's name, as logs and the admin API show it.
func (s State) String() string { return stateNames[s] }

// Assessment describes an upstream to the router.
type Assessment struct {
	State State
	// Takes says that the upstream takes one more request at this moment.
	Takes bool
	// Penalty is the expected cost of an attempt there beyond its prefill: that of
	// a failure, and of waiting behind an answer that is overdue.
	Penalty time.Duration
	// Overdue is the part of Penalty that is for waiting behind an overdue answer.
	Overdue time.Duration
	// FailureShare is the share of attempts that failed lately, from 0 to 1.
	FailureShare float64
}

// upstream holds the failures of one upstream. The detector's mu guards it.
type upstream struct {
	lastUsed time.Time
	inFlight []*Attempt

	kind      Kind // of the last failure
	failedAt  time.Time
	hasFailed bool
	inARow    int // failures since the last success, by weight
	share     float64
	shareAt   time.Time

	out          bool // left out, or half-open
	limited      bool // because it is busy
	contradicted bool // because others accept what it refuses
	since, until time.Time
	ejections    int       // in a row
	limits       int       // in a row
	claimedUntil time.Time // a request that was sent there as a probe begins until then
	probing      bool      // a probe is under way

	returned time.Time // when its slow start began; zero: it is not in one
	allowed  int       // requests that it may hold in its slow start

	refusals     int       // answers in a row with an error that may be the client's
	overdueSince time.Time // when its oldest overdue answer was asked for; zero: none is
}

// assess describes the upstream to the router.
func (u *upstream) assess(now time.Time) Assessment {
	a := Assessment{State: u.state(now), FailureShare: u.failureShare(now)}
	switch a.State {
	case Ready:
		a.Takes = true
	case Returning:
		a.Takes = len(u.inFlight) < u.allowed
	case HalfOpen:
		a.Takes = !u.probing && !now.Before(u.claimedUntil)
	}
	if a.State != HalfOpen && !u.trialDue(now) {
		a.Penalty = failureCost(a.FailureShare)
	}
	if !u.overdueSince.IsZero() {
		a.Overdue = now.Sub(u.overdueSince)
		a.Penalty += a.Overdue
	}
	return a
}

// trialDue reports whether a request shall find out if the upstream is well again.
func (u *upstream) trialDue(now time.Time) bool {
	return len(u.inFlight) == 0 && u.isForgiven(now)
}

// isForgiven reports whether the last failure is some time ago and was no hang.
func (u *upstream) isForgiven(now time.Time) bool {
	return u.hasFailed && u.kind.weight() == 1 && now.Sub(u.failedAt) >= trialAfter
}

func (u *upstream) state(now time.Time) State {
	switch {
	case u.out && now.Before(u.until) && u.limited:
		return Busy
	case u.out && now.Before(u.until):
		return Out
	case u.out:
		return HalfOpen
	case !u.returned.IsZero() && now.Sub(u.returned) < slowStart:
		return Returning
	}
	return Ready
}

// failureCost returns the expected cost of the failures before an attempt succeeds.
func failureCost(share float64) time.Duration {
	if share < negligible {
		return 0
	}
	share = min(share, maxShare)
	return time.Duration(share / (1 - share) * float64(failedAttemptCost))
}

// failureShare returns the share of attempts that failed lately. It fades, so that
// an upstream that gets no requests is looked at again.
func (u *upstream) failureShare(now time.Time) float64 {
	if u.share == 0 {
		return 0
	}
	return u.share * math.Exp2(-now.Sub(u.shareAt).Seconds()/shareHalfLife.Seconds())
}

// learn takes one attempt into the failure share.
func (u *upstream) learn(now time.Time, outcome float64) {
	share := u.failureShare(now)
	u.share, u.shareAt = share+shareStep*(outcome-share), now
	if u.share < negligible {
		u.share = 0
	}
}

// isTroubled reports whether assess would return anything but a plain Ready.
func (u *upstream) isTroubled(now time.Time) bool {
	return u.out || u.failureShare(now) >= negligible || !u.overdueSince.IsZero() || u.state(now) != Ready
}

// succeeded notes a whole answer.
func (u *upstream) succeeded(now time.Time, probe bool) (returned bool) {
	u.refusals = 0
	if u.out && !probe {
		return false // it was sent before the upstream was left out
	}
	u.inARow = 0
	if u.learn(now, 0); u.isForgiven(now) {
		u.share = 0
	}
	if !u.out {
		u.allowed++
		return false
	}
	u.share = 0
	u.out, u.limited, u.contradicted, u.limits = false, false, false, 0
	u.returned, u.allowed = now, len(u.inFlight)+1
	return true
}

// failed notes a failed attempt and returns for how long the upstream is left out
// because of it; 0: not.
func (u *upstream) failed(a *Attempt, k Kind, retryAfter time.Duration, now time.Time) (ejected time.Duration) {
	u.kind, u.hasFailed, u.failedAt = k, true, now
	for range k.weight() {
		u.learn(now, 1)
	}
	if a.options.Off || u.out && !a.probe && a.sent.Before(u.since) {
		return 0 // the failures of requests sent before are known already
	}
	if k == Limited {
		return u.limit(retryAfter, now)
	}
	u.inARow += k.weight()
	fresh := u.state(now) == Returning
	if a.probe || fresh || u.inARow >= a.options.Failures {
		return u.eject(a.options, now)
	}
	return 0
}

// eject leaves the upstream out, for longer each time in a row.
func (u *upstream) eject(o Options, now time.Time) time.Duration {
	if !u.out && (u.returned.IsZero() || now.Sub(u.returned) >= slowStart) {
		u.ejections = 0
	}
	d := o.Max
	if u.ejections < 30 {
		d = min(o.Max, o.Base<<u.ejections)
	}
	u.ejections++
	u.leaveOut(d, now)
	u.limited = false
	return d
}

// limit leaves the upstream out because it is busy.
func (u *upstream) limit(retryAfter time.Duration, now time.Time) time.Duration {
	d := min(retryAfter, maxRetryAfter)
	if d <= 0 {
		d = min(maxLimit, firstLimit<<min(u.limits, 10))
	}
	u.limits++
	u.leaveOut(d, now)
	u.limited = true
	return d
}

func (u *upstream) leaveOut(d time.Duration, now time.Time) {
	u.out, u.since, u.until, u.returned = true, now, now.Add(d), time.Time{}
}

// report describes the upstream.
func (u *upstream) report(now time.Time) Report {
	r := Report{
		State:        u.state(now),
		Failed:       u.hasFailed,
		Kind:         u.kind,
		InARow:       u.inARow,
		FailureShare: u.failureShare(now),
		InFlight:     len(u.inFlight),
	}
	if u.out {
		r.Left = max(0, u.until.Sub(now))
	}
	if !u.overdueSince.IsZero() {
		r.Overdue = now.Sub(u.overdueSince)
	}
	return r
}
