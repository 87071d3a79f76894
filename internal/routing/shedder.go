// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"math"
	"time"
)

// leastShare is the share of its longest wait that a Shedder leaves to the worst
// priority, and again to the greediest tenant: so both still get what the others
// leave idle.
const leastShare = 1.0 / 4

// Shedder refuses requests that would wait too long, so that an overload is an
// answer and not a queue without end. Engines compute prompts in the order in which they
// come, so whatever is let in makes all wait that come later. Therefore a request is
// judged by the wait that it finds, the shortest at any of its candidates, and the
// less a request matters, the less of a wait is acceptable:
//
//	limit = longest wait x priority's share x tenant's share
//
// What is kept free between a limit and the longest wait is the head-room of the
// others. It costs no throughput: while anything is refused, every engine has a
// queue.
//
// Priorities (smaller goes first) share in equal steps. Of k priorities that asked
// in the last minute the best has all of the longest wait, the next one (k-1)/k,
// the last one 1/k (trunk reservation, as telephone networks have it). A priority
// that is alone has all.
//
// A tenant's fair share is that of one among all tenants that have prefill queued
// or asked in the last minute. One whose share of the queued prefill is n times the fair
// share waits for at most the n-th part. A tenant with no more than its fair
// share has all: it does not pay for the queue that others have made.
//
// Neither share gets below leastShare. A candidate with no request in flight takes
// any request: where nothing runs, a long wait is an error of the prediction.
// An attempt after the first is not judged again, because its request was let in.
//
// The wait is the router's prediction, or what the engine's own reports show where
// that is more, see backlog.
//
// A Shedder holds the latest 16 priorities and tenants, and the tenants with prefill
// queued. The mu of the one router whose requests it judges guards it.
type Shedder struct {
	longestWait time.Duration
	priorities  recent[int32]
	tenants     recent[string]
	work        map[string]*tenantWork // by tenant; those with queued prefill
	total       time.Duration          // of all of them
}

// NewShedder returns a Shedder for requests of one router. It lets none wait for
// longer than longestWait.
func NewShedder(longestWait time.Duration) *Shedder {
	return &Shedder{longestWait: longestWait, work: make(map[string]*tenantWork)}
}

// tenantWork is the queued prefill of one tenant. A nil *tenantWork counts
// nothing.
type tenantWork struct {
	shedder      *Shedder
	tenant       string
	queued       time.Duration // predicted
	reservations int
}

// add counts a reservation for a tenant, "" for none, and returns the tenant's work.
func (s *Shedder) add(tenant string, prefill time.Duration) *tenantWork {
	if tenant == "" {
		return nil
	}
	w := s.work[tenant]
	if w == nil {
		w = &tenantWork{shedder: s, tenant: tenant}
		s.work[tenant] = w
	}
	w.queued += prefill
	w.reservations++
	s.total += prefill
	return w
}

// remove takes back what add counted. The last reservation takes the tenant with it.
func (w *tenantWork) remove(prefill time.Duration) {
	if w == nil {
		return
	}
	w.queued -= prefill
	w.shedder.total -= prefill
	if w.reservations--; w.reservations == 0 {
		delete(w.shedder.work, w.tenant)
	}
}

// note notes that a request asks.
func (s *Shedder) note(now time.Time, priority int32, tenant string) {
	s.priorities.note(priority, now)
	if tenant != "" {
		s.tenants.note(tenant, now)
	}
}

// limit returns the longest wait that is acceptable to a request.
func (s *Shedder) limit(now time.Time, priority int32, tenant string) time.Duration {
	return time.Duration(float64(s.longestWait) * s.priorityShare(now, priority) * s.tenantShare(now, tenant))
}

// priorityShare returns the share of the longest wait that a priority has.
func (s *Shedder) priorityShare(now time.Time, priority int32) float64 {
	all := 1 + s.priorities.count(now, func(p int32) bool { return p != priority })
	better := s.priorities.count(now, func(p int32) bool { return p < priority })
	return max(leastShare, float64(all-better)/float64(all))
}

// tenantShare returns the share of the longest wait that a tenant has.
func (s *Shedder) tenantShare(now time.Time, tenant string) float64 {
	w := s.work[tenant]
	if w == nil || w.queued <= 0 {
		return 1
	}
	all := 1 + s.tenants.count(now, func(t string) bool { return t != tenant })
	fair := float64(s.total) / float64(max(all, len(s.work)))
	return min(1, max(leastShare, fair/float64(w.queued)))
}

// shedding describes one request to a Shedder. The zero value is never
// refused.
type shedding struct {
	shedder  *Shedder // nil: none
	priority int32
	tenant   string
	admitted bool // an attempt was started
}

// LimitWait makes s refuse the request when it would wait too long, see
// [Shedder]. Smaller priorities go first. tenant is a keyed hash, not a name; "":
// there are no tenants. Call it before Route.
func (r *Request) LimitWait(s *Shedder, priority int32, tenant string) {
	r.router.mu.Lock()
	defer r.router.mu.Unlock()
	r.shedding = shedding{shedder: s, priority: priority, tenant: tenant}
}

// refused reports whether the evaluated request must be refused, and returns the
// decision for it. It records nothing. The caller holds mu.
func (r *Request) refused() (d Decision, refused bool) {
	s := &r.shedding
	scored := r.router.scratch.scored
	if s.shedder == nil || s.admitted || len(scored) == 0 {
		return d, false
	}
	limit := s.shedder.limit(r.router.now(), s.priority, s.tenant)
	wait := shortestWait(scored)
	return Decision{Pick: -1, Reason: Overload, RetryAfter: wait - limit}, wait > limit
}

// noteAsking notes that the request asks for a place. The caller holds mu.
func (r *Request) noteAsking() {
	if s := &r.shedding; s.shedder != nil {
		s.shedder.note(r.router.now(), s.priority, s.tenant)
	}
}

// shortestWait returns the wait at the candidate that takes a request soonest, if
// it does not fail: the wait counts, with that behind overdue answers, and the
// cost of failures only decides which candidate it is. An upstream that fails
// whatever it is sent is idle, and is not where a request would go.
func shortestWait(candidates []scoredCandidate) time.Duration {
	var shortest time.Duration
	least := time.Duration(math.MaxInt64)
	for i := range candidates {
		c := &candidates[i]
		wait := max(c.Wait, c.Backlog) + c.Overdue
		if c.InFlight == 0 {
			wait = 0
		}
		if cost := wait + max(0, c.Penalty-c.Overdue); cost < least {
			shortest, least = wait, cost
		}
	}
	return shortest
}

// countWork counts the prefill that the attempt has reserved for the request's
// tenant. The caller holds mu.
func (r *Request) countWork() {
	s, a := &r.shedding, &r.attempt
	if s.shedder != nil {
		s.admitted = true
		a.reservation.work = s.shedder.add(s.tenant, a.reservation.cost)
	}
}
