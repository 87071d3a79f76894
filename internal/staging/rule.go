// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"time"

	"github.com/bauxite/caddy-kvaware/internal/lmcache"
	"github.com/bauxite/caddy-kvaware/internal/routing"
)

// leastStaged is the least number of tokens missing on the GPU that is worth a
// staging: LMCache's usual chunk. LMCache moves nothing smaller.
const leastStaged = lmcache.DefaultChunkTokens

// moment holds the figures that decide whether a prompt is staged where it goes, and
// whether its request is held for that.
type moment struct {
	missing  int           // prompt tokens that may be on disk or remote, see missing
	own      int           // of those, the ones that this very upstream has had
	wait     time.Duration // until the engine can begin with the prompt, as predicted
	lead     time.Duration // until LMCache begins: the tokens must be fetched and sent
	expected time.Duration // time that LMCache takes then; 0: not known
	perToken time.Duration // cost of a prompt token there
	failover bool          // another upstream has failed it, or cannot be picked and had more of it
	limit    time.Duration // the option `wait`
}

// missing returns the number of a prompt's tokens that LMCache may have to bring up
// from below CPU memory: those that some upstream had once or is known to have
// stored, without those in this upstream's GPU or CPU memory. own counts only those
// that this upstream itself had or has stored.
func missing(o routing.Prediction) (all, own int) {
	near := max(o.OnGPU, o.Offload.CPU)
	own = max(0, max(o.EverSent, o.Offload.Storage)-near)
	return max(own, o.Longest-near), own
}

// expected returns the number of a prompt's tokens that some LMCache is estimated to
// hold: what follows is new.
func expected(o routing.Prediction) int {
	return max(o.EverSent, o.Offload.Storage, o.Longest)
}

// decide returns whether to stage, and how long the request may be held for that.
//
// Staging helps only when it has a head start on the engine: one that is idle
// schedules the request at once and has LMCache load the same blocks from the
// same disk for itself, and a staging beside that would only slow it down. So
// staging is for a prompt that will wait in the engine's queue until the staging
// has ended, for one that is held here, and for one that comes to an upstream
// where it was never before.
//
// A request that waits in the engine's queue for long enough is not held here:
// there it has its place.
func (m moment) decide() (stage bool, hold time.Duration) {
	if m.missing < leastStaged {
		return false, 0
	}
	takes := m.lead + m.expected
	needs := takes
	if m.expected == 0 {
		needs = m.limit // it becomes known by the first staging, so hold for that
	}
	if m.own >= leastStaged && m.wait < needs {
		hold = lmcache.HoldTime(lmcache.Gain(m.own, m.perToken.Seconds()), takes, m.limit)
	}
	return hold > 0 || m.failover || m.wait > m.lead+m.expected, hold
}

// until returns the time after which staging is of no use, because the engine has
// scheduled the request. Zero: never, after a failover, where LMCache may have to
// fetch the blocks from far away.
func (m moment) until(now time.Time, hold time.Duration) time.Time {
	if m.failover {
		return time.Time{}
	}
	return now.Add(max(m.wait, hold))
}
