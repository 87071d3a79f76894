// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"net/http"
	"strconv"
	"time"
)

// rank is one data-parallel rank of a node: an engine core with memory, queue
// and prefix cache of its own behind the node's one HTTP server.
type rank struct {
	id    int
	sched *Scheduler
}

func (e *Engine) makeRanks() error {
	for id := range e.cfg.Ranks {
		sched, err := NewScheduler(e.cfg)
		if err != nil {
			return err
		}
		e.ranks = append(e.ranks, &rank{id: id, sched: sched})
	}
	return nil
}

// advance lets everything happen that happens until now, and returns when the
// next thing will.
func (e *Engine) advance() (next time.Duration, busy bool) {
	now := e.clock.now()
	for _, r := range e.ranks {
		r.sched.Advance(now)
		if at, ok := r.sched.Next(); ok && (!busy || at < next) {
			next, busy = at, true
		}
	}
	return next, busy
}

// rankHeader pins a request to a rank.
const rankHeader = "X-Data-Parallel-Rank"

// chooseRank returns the rank that the request asks for, or the next one in
// turn.
func (e *Engine) chooseRank(h http.Header) (*rank, *apiError) {
	if pinned := h.Get(rankHeader); pinned != "" {
		n, err := strconv.Atoi(pinned)
		if err != nil || n < 0 || n >= len(e.ranks) {
			return nil, badRequest("X-data-parallel-rank is not a rank of this node")
		}
		return e.ranks[n], nil
	}
	if len(e.ranks) == 1 {
		return e.ranks[0], nil
	}
	turn := e.turns.Add(1) - 1
	return e.ranks[int(turn%int64(len(e.ranks)))], nil
}

// crash forgets what a process forgets that dies: requests, caches, counters.
func (e *Engine) crash() {
	e.mu.Lock()
	now := e.clock.now()
	for _, r := range e.ranks {
		r.sched.Advance(now)
		r.sched.crash(now)
	}
	e.mu.Unlock()
	e.log.reset()
}
