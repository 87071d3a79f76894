// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/backoff"
)

// engine is one engine that a Watcher polls.
type engine struct {
	watcher  *Watcher
	target   Target
	wantedAt atomic.Int64  // when Watch last named it, in Unix nanoseconds
	pollSoon chan struct{} // holds one when requestPoll was called
	isDown   atomic.Bool

	running bool // a goroutine runs; guarded by the Watcher's mu

	mu    sync.Mutex
	state State // guarded by mu; only run writes it

	// Only run uses the rest.
	restarts      restartDetector
	failures      int  // to read metrics, in a row
	unreachable   bool // these failures were without any answer
	hasLoad       bool // the Observer has a load that has not expired
	lastPoll      time.Time
	nextModels    time.Time
	lastModels    Models // the last list that could be read
	modelFailures int    // to read the models, in a row
}

func newEngine(w *Watcher, t Target) *engine {
	return &engine{
		watcher:  w,
		target:   t,
		pollSoon: make(chan struct{}, 1),
		state:    State{Target: t, Reading: Reading{Usage: -1}},
	}
}

func (e *engine) requestPoll() {
	select {
	case e.pollSoon <- struct{}{}:
	default:
	}
}

func (e *engine) snapshot() State {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.state
}

// run polls the engine until it is idle or the Watcher is closed.
func (e *engine) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var due time.Time
	for {
		select {
		case <-e.watcher.ctx.Done():
			e.stopReporting()
			return
		case <-e.pollSoon:
			if soon := e.lastPoll.Add(minPollGap); soon.Before(due) {
				due = soon
			}
		case <-timer.C:
		}
		if e.stopIfIdle() {
			return
		}
		now := e.watcher.options.Now()
		if !now.Before(due) {
			if !e.poll() {
				e.stopReporting()
				return
			}
			now = e.watcher.options.Now()
			due = now.Add(e.pause())
		}
		// Wake up in time to notice that it has become idle.
		timer.Reset(max(0, min(due.Sub(now), idleAfter-e.sinceWanted()+1)))
	}
}

// idle reports whether Watch has not named the engine lately.
func (e *engine) idle() bool { return e.sinceWanted() > idleAfter }

func (e *engine) sinceWanted() time.Duration {
	return e.watcher.options.Now().Sub(time.Unix(0, e.wantedAt.Load()))
}

// stopIfIdle reports whether the goroutine of an idle engine is to end. The state
// of the engine's process stays, to notice a restart in between.
func (e *engine) stopIfIdle() bool {
	if !e.idle() {
		return false
	}
	e.stopReporting()
	e.watcher.mu.Lock()
	defer e.watcher.mu.Unlock()
	if !e.idle() && !e.watcher.closed {
		return false // Watch has just named it again
	}
	e.running = false
	return true
}

// stopReporting takes back the reports that are true only while the engine is
// polled.
func (e *engine) stopReporting() {
	e.expireLoad()
	e.nextModels = time.Time{}
	e.setModels(nil)
}

// poll asks the engine once. It returns false when the Watcher was closed.
func (e *engine) poll() bool {
	ctx := e.watcher.ctx
	select {
	case e.watcher.slots <- struct{}{}:
		defer func() { <-e.watcher.slots }()
	case <-ctx.Done():
		return false
	}
	e.lastPoll = e.watcher.options.Now()
	reading, err := fetchMetrics(ctx, e.watcher.options.Transport, e.target.Address, e.target.Path)
	if ctx.Err() != nil {
		return false
	}
	e.record(reading, err)
	if !noAnswer(err) {
		e.pollModels(ctx)
	}
	return ctx.Err() == nil
}

// noAnswer reports whether an attempt got no answer at all.
func noAnswer(err error) bool {
	return errors.Is(err, ErrRefused) || errors.Is(err, ErrUnreachable)
}

// record takes in a reading, or the error in its place, and reports a restart.
//
// After a refused connection, the next answer means a restart: nothing listened,
// so the process had ended, and its cache with it. The exception is a reading that
// proves the same process: then something on the way has refused. A timeout means
// nothing.
func (e *engine) record(r Reading, err error) {
	answered := !noAnswer(err)
	back := answered && e.isDown.Load()
	restarted := false
	if err == nil {
		if back {
			restarted = !e.restarts.same(r)
			e.restarts.restarted(r)
		} else {
			restarted = e.restarts.restarted(r)
		}
	} else {
		restarted = back
	}
	if answered {
		e.setDown(false)
	} else if errors.Is(err, ErrRefused) {
		e.setDown(true)
	}
	if restarted {
		e.nextModels = time.Time{} // it may serve other models now
		e.watcher.options.Observer.Restarted(e.target)
	}
	e.update(r, err)
}

// update keeps a reading and passes it on.
func (e *engine) update(r Reading, err error) {
	e.mu.Lock()
	e.state.Failure = err
	if err == nil {
		e.state.Reading, e.state.ReadAt = r, e.lastPoll
	}
	stale := e.lastPoll.Sub(e.state.ReadAt) >= loadLifetime
	e.mu.Unlock()
	if gone := noAnswer(err); gone != e.unreachable {
		e.unreachable, e.failures = gone, 0
	}
	if err != nil {
		e.failures++
		if stale || errors.Is(err, ErrRefused) {
			e.expireLoad()
		}
		return
	}
	e.failures = 0
	e.hasLoad = true
	e.watcher.options.Observer.Reported(e.target, r)
}

// expireLoad takes back the load of the last reading.
func (e *engine) expireLoad() {
	if e.hasLoad {
		e.hasLoad = false
		e.watcher.options.Observer.LoadExpired(e.target)
	}
}

func (e *engine) setDown(down bool) {
	if e.isDown.Swap(down) != down {
		if down {
			e.watcher.numDown.Add(1)
		} else {
			e.watcher.numDown.Add(-1)
		}
	}
	e.mu.Lock()
	e.state.Down = down
	e.mu.Unlock()
}

// pollModels reads the list of models when it is due. Without a readable list the
// engine may serve anything.
func (e *engine) pollModels(ctx context.Context) {
	now := e.watcher.options.Now()
	if now.Before(e.nextModels) {
		return
	}
	models, err := fetchModels(ctx, e.watcher.options.Transport, e.target.Address)
	if ctx.Err() != nil {
		return
	}
	pause := modelsInterval
	if err != nil {
		models = nil
		e.modelFailures++
		pause = backoff.Pause(e.modelFailures, unreadableFirst, unreadableLongest)
	} else {
		e.modelFailures = 0
	}
	e.nextModels = now.Add(backoff.Jitter(pause, e.watcher.options.Random()))
	e.setModels(models)
}

func (e *engine) setModels(models Models) {
	e.mu.Lock()
	e.state.Models = models
	e.mu.Unlock()
	e.watcher.updateModels()
	if len(models) == 0 {
		return // the models are unknown
	}
	if len(e.lastModels) > 0 && !slices.Equal(models, e.lastModels) {
		e.watcher.options.Observer.ModelsChanged(e.target)
	}
	e.lastModels = models
}

// pause returns the time until the next poll.
func (e *engine) pause() time.Duration {
	var pause time.Duration
	switch {
	case e.unreachable:
		pause = backoff.Pause(e.failures, unreachableFirst, unreachableLongest)
	case e.failures > 0:
		pause = backoff.Pause(e.failures, unreadableFirst, unreadableLongest)
	case e.sinceWanted() <= busyTime:
		pause = busyInterval
	default:
		pause = quietInterval
	}
	return backoff.Jitter(pause, e.watcher.options.Random())
}
