// SPDX-License-Identifier: Apache-2.0

package routing

import "time"

// loadLasts is how long a load that an engine has told counts: a few scrapes.
const loadTTL = 15 * time.Second

// EngineLoad is what an engine tells of itself. It covers requests that came by other
// ways than this gateway.
type EngineLoad struct {
	Waiting int // requests it has not begun with
	Running int // requests it is prefilling or decoding

	// Usage is the share of its KV cache that running requests hold, at most 1;
	// 0: not told.
	Usage float64
}

// reportedLoad is what of an upstream's load this gateway has not sent.
type reportedLoad struct {
	EngineLoad
	at time.Time
}

// SetLoad notes the load that an upstream reports at this moment. What of it
// is this gateway's is taken off now: later it is not known any more which of
// the requests that are gone were among those reported. Ours that are being
// computed do not wait, so it may be too much that is taken off, never too
// little.
func (rt *Router) SetLoad(address string, l EngineLoad) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	u, now := rt.upstream(address), rt.now()
	u.queue.advance(now)
	others := max(0, max(0, l.Waiting)+max(0, l.Running)-u.queue.requests)
	waiting := min(others, max(0, l.Waiting-u.queue.queued))
	u.reported = reportedLoad{EngineLoad{Waiting: waiting, Running: others - waiting}, now}
	u.cacheUsage.setReported(l.Usage, u.capacity.size())
}

// foreign returns how many requests wait at the upstream that this gateway has
// not sent, and how many there are in all, ours too, as far as is known.
func (u *upstream) foreignRequests(now time.Time) (waiting, inFlight int) {
	if !u.reported.fresh(now) {
		return 0, 0
	}
	return u.reported.Waiting, u.reported.Waiting + u.reported.Running + u.queue.requests
}

// foreignTokens returns how much of its KV cache the upstream uses beyond what
// is known of the requests sent there.
func (u *upstream) foreignTokens(now time.Time) int64 {
	if !u.reported.fresh(now) {
		return 0
	}
	return u.cacheUsage.others
}

// counts reports whether what was told still says something.
func (l *reportedLoad) fresh(now time.Time) bool {
	return !l.at.IsZero() && now.Sub(l.at) <= loadTTL
}
