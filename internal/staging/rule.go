// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"time"

	"github.com/bauxite/caddy-kvaware/internal/lmcache"
	"github.com/bauxite/caddy-kvaware/internal/routing"
)

// leastStaged is how many tokens must be missing on the GPU for it to be worth
// to have them staged: LMCache's usual chunk. It moves nothing smaller.
const leastStaged = lmcache.DefaultChunkTokens

// moment is what decides whether a prompt is staged where it goes, and whether
// its request is held for that.
type moment struct {
	missing  int           // prompt tokens that may be on disk or remote, see missing
	own      int           // of those, what this very upstream has had
	wait     time.Duration // until the engine can begin with the prompt, as predicted
	lead     time.Duration // until LMCache begins: the tokens must be fetched and sent
	expected time.Duration // how long LMCache takes then, 0: not known
	perToken time.Duration // what a prompt token costs to compute there
	failover bool          // another upstream has failed it, or cannot be picked and had more of it
	limit    time.Duration // the option `wait`
}

// missing returns how many tokens of a prompt LMCache may have to bring up from
// below CPU memory: what an upstream had at some time, or is known to have
// stored, less what the GPU and CPU memory hold. own is the same for what is
// expected on the very upstream.
func missing(o routing.Prediction) (all, own int) {
	near := max(o.OnGPU, o.Offload.CPU)
	own = max(0, max(o.EverSent, o.Offload.Storage)-near)
	return max(own, o.Longest-near), own
}

// decide returns whether to stage, and for how long the request is to be held
// for it at most.
//
// Staging helps only when it has a start of the engine: one that is idle
// schedules the request at once and has LMCache load the same blocks from the
// same disk for itself, and a staging beside that would only slow it down. So
// it is for a prompt that will wait in the engine's queue until the staging has
// ended, for one that is held here, and for one that comes to an upstream where
// it was never before.
//
// A request that waits in the engine's queue for long enough is not held here:
// there it has its place.
func (m moment) decide() (stage bool, hold time.Duration) {
	if m.missing < leastStaged {
		return false, 0
	}
	takes, needs := m.lead+m.expected, m.lead+m.expected
	if m.expected == 0 {
		takes, needs = 0, m.limit
	}
	if m.own >= leastStaged && m.wait < needs {
		hold = lmcache.HoldTime(lmcache.Gain(m.own, m.perToken.Seconds()), takes, m.limit)
	}
	return hold > 0 || m.failover || m.wait > m.lead+m.expected, hold
}

// until returns when it is too late to begin, if it is decided now: the engine
// has then scheduled the request. Zero: after a failover, where LMCache may have
// to fetch the blocks from far away, it is never too late.
func (m moment) until(now time.Time, hold time.Duration) time.Time {
	if m.failover {
		return time.Time{}
	}
	return now.Add(max(m.wait, hold))
}
