// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"net/http"
	"strconv"
	"time"
)

// rank is one data-parallel rank of a node: an engine core with its own memory,
// queue and prefix cache.
type rank struct {
	id    int
	sched *Scheduler

	// Nil and empty without events.
	recorder       *recorder
	publisher      *publisher
	events, replay string // host:port of its sockets; empty without one
}

func (e *Engine) makeRanks() error {
	e.attach()
	for id := range e.cfg.Ranks {
		sched, err := NewScheduler(e.cfg)
		if err != nil {
			return err
		}
		r := &rank{id: id, sched: sched}
		if e.cfg.Events != nil {
			r.publisher = newPublisher(*e.cfg.Events, &e.faults)
			r.recorder = newRecorder(&e.cfg, id, r.publisher.publish)
			sched.setWatcher(r.recorder)
		}
		e.ranks = append(e.ranks, r)
	}
	return nil
}

// advance handles all events up to now and returns the time of the next one.
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

// chooseRank returns the rank in the request's header, or the next one in turn.
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

// crash drops everything that a process loses when it dies: requests, caches,
// counters. The sockets stay closed until Heal.
func (e *Engine) crash() {
	e.down.Store(true)
	for _, r := range e.ranks {
		if r.publisher != nil {
			r.publisher.close()
		}
	}
	e.mu.Lock()
	now := e.clock.now()
	for _, r := range e.ranks {
		r.sched.Advance(now)
		r.sched.crash(now)
		if r.publisher != nil {
			r.recorder.restart()
			r.publisher.restart()
		}
	}
	e.mu.Unlock()
	e.log.reset()
}

// Restart simulates a crash and the restart by a supervisor: every connection and
// request ends, the cache is empty, the numbers of KV events begin again, and all
// faults end. It needs a listener.
func (e *Engine) Restart() error {
	if err := e.Fault(Fault{Kind: Crash}); err != nil {
		return err
	}
	return e.Heal()
}
