// SPDX-License-Identifier: Apache-2.0

package routing

import "time"

// loadTTL is the time for which a reported load counts: a few scrapes.
const loadTTL = 15 * time.Second

// EngineLoad is the load that an engine reports, with the requests that other
// gateways and clients send it.
type EngineLoad struct {
	Waiting int // requests whose prefill has not begun
	Running int // requests it is prefilling or decoding

	// Usage is the share of its KV cache that running requests hold, at most 1;
	// 0: not reported.
	Usage float64
}

// reportedLoad is the part of an upstream's load that this gateway did not send.
type reportedLoad struct {
	EngineLoad
	at time.Time
}

// SetLoad sets the load that an upstream reports at this moment. This gateway's
// own requests are subtracted now: later it is not known which of those that
// ended were part of the report. Own requests under prefill do not wait, so the
// rest may be too small, never too large.
func (rt *Router) SetLoad(address string, l EngineLoad) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	u, now := rt.upstream(address), rt.now()
	u.queue.advance(now)
	u.backlog.report(now, l, u.queue.requests)
	others := max(0, max(0, l.Waiting)+max(0, l.Running)-u.queue.requests)
	waiting := min(others, max(0, l.Waiting-u.queue.queued))
	u.reported = reportedLoad{EngineLoad{Waiting: waiting, Running: others - waiting}, now}
	u.cacheUsage.setReported(l.Usage, u.capacity.size())
}

// foreignRequests returns the number of others' requests that wait at the upstream,
// and of all requests there, ours included, as far as is known.
func (u *upstream) foreignRequests(now time.Time) (waiting, inFlight int) {
	if !u.reported.fresh(now) {
		return 0, 0
	}
	return u.reported.Waiting, u.reported.Waiting + u.reported.Running + u.queue.requests
}

// foreignTokens returns the tokens in the upstream's KV cache beyond those of the
// requests sent there.
func (u *upstream) foreignTokens(now time.Time) int64 {
	if !u.reported.fresh(now) {
		return 0
	}
	return u.cacheUsage.others
}

// fresh reports whether the load still counts.
func (l *reportedLoad) fresh(now time.Time) bool {
	return !l.at.IsZero() && now.Sub(l.at) <= loadTTL
}
