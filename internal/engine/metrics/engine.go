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
	listSoon chan struct{} // holds one when requestModels was called
	isDown   atomic.Bool

	running bool // a goroutine runs; guarded by the Watcher's mu

	mu    sync.Mutex
	state State // guarded by mu; only run writes it

	// Only run uses the rest.
	restarts      restartDetector
	failures      int       // to read metrics, in a row
	unreachable   bool      // these failures were without any answer
	asleep        bool      // at the last reading
	hasLoad       bool      // the Observer has a load that has not expired
	lastPoll      time.Time // of the metrics
	nextPoll      time.Time
	lastListing   time.Time // of the models
	nextListing   time.Time
	listed        bool   // the Watcher's table has the engine
	lastModels    Models // the last list that could be read
	modelFailures int    // to read the models, in a row
}

func newEngine(w *Watcher, t Target) *engine {
	return &engine{
		watcher:  w,
		target:   t,
		pollSoon: make(chan struct{}, 1),
		listSoon: make(chan struct{}, 1),
		state:    State{Target: t, Reading: Reading{Usage: -1}},
	}
}

// requestPoll asks for a poll soon.
func (e *engine) requestPoll() { request(e.pollSoon) }

// requestModels asks for a reading of the models soon.
func (e *engine) requestModels() { request(e.listSoon) }

func request(soon chan struct{}) {
	select {
	case soon <- struct{}{}:
	default: // it was asked for already
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
	e.nextPoll, e.nextListing = time.Time{}, time.Time{}
	for {
		select {
		case <-e.watcher.ctx.Done():
			e.stopReporting()
			return
		case <-e.pollSoon:
			e.nextPoll = earlier(e.nextPoll, e.lastPoll.Add(minPollGap))
			e.listSoonAgain()
		case <-e.listSoon:
			e.listSoonAgain()
		case <-timer.C:
		}
		if e.stopIfIdle() {
			return
		}
		now := e.watcher.options.Now()
		if !now.Before(e.due()) {
			if !e.poll() {
				e.stopReporting()
				return
			}
			now = e.watcher.options.Now()
		}
		// Wake up in time to notice that it has become idle.
		timer.Reset(max(0, min(e.due().Sub(now), idleAfter-e.sinceWanted()+1)))
	}
}

// listSoonAgain brings the next reading of the models forward, unless the engine
// lists none that can be read.
func (e *engine) listSoonAgain() {
	if e.modelFailures == 0 {
		e.nextListing = earlier(e.nextListing, e.lastListing.Add(minModelsGap))
	}
}

// due returns the time of the next poll. An engine that does not answer is asked
// for its metrics only.
func (e *engine) due() time.Time {
	if e.unreachable {
		return e.nextPoll
	}
	return earlier(e.nextPoll, e.nextListing)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
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
	e.setModels(nil)
}

// poll asks the engine for what is due. It returns false when the Watcher was
// closed.
func (e *engine) poll() bool {
	ctx := e.watcher.ctx
	select {
	case e.watcher.slots <- struct{}{}:
		defer func() { <-e.watcher.slots }()
	case <-ctx.Done():
		return false
	}
	if now := e.watcher.options.Now(); !now.Before(e.nextPoll) {
		e.lastPoll = now
		reading, err := fetchMetrics(ctx, e.watcher.options.Transport, e.target.Address, e.target.Path)
		if ctx.Err() != nil {
			return false
		}
		e.record(reading, err)
		e.nextPoll = e.watcher.options.Now().Add(e.pause())
	}
	if !e.unreachable {
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
	cleared := err == nil && e.restarts.resetWhileIdle(r)
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
		e.nextListing = time.Time{} // it may serve other models now
		e.watcher.options.Observer.Restarted(e.target)
	}
	e.update(r, err)
	if cleared && !restarted {
		e.watcher.options.Observer.CacheCleared(e.target)
	}
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
	if r.Asleep && !e.asleep {
		e.watcher.options.Observer.CacheCleared(e.target)
	}
	e.asleep = r.Asleep
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
	if now.Before(e.nextListing) {
		return
	}
	e.lastListing = now
	models, err := fetchModels(ctx, e.watcher.options.Transport, e.target.Address)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		models = nil
		e.modelFailures++
	} else {
		e.modelFailures = 0
	}
	e.nextListing = e.watcher.options.Now().Add(e.modelsPause(len(models)))
	e.setModels(models)
	if err == nil {
		e.watcher.options.Observer.ModelsRead(e.target, models, now)
	}
}

// modelsPause returns the time until the models are read again, after a list of so
// many.
func (e *engine) modelsPause(models int) time.Duration {
	pause := e.usualPause()
	switch {
	case e.modelFailures > 0:
		pause = backoff.Pause(e.modelFailures, unreadableFirst, unreadableLongest)
	case models > fewModels:
		pause = modelsInterval
	case e.failures == 0: // with the next metrics
		return e.nextPoll.Sub(e.watcher.options.Now())
	}
	return backoff.Jitter(pause, e.watcher.options.Random())
}

func (e *engine) setModels(models Models) {
	e.mu.Lock()
	same := slices.Equal(models, e.state.Models)
	e.state.Models = models
	e.mu.Unlock()
	if !same || !e.listed {
		e.listed = true
		e.watcher.updateModels()
	}
	if len(models) == 0 {
		return // the models are unknown
	}
	if len(e.lastModels) > 0 && !slices.Equal(models, e.lastModels) {
		e.watcher.options.Observer.ModelsChanged(e.target, e.lastModels, models)
	}
	e.lastModels = models
}

// pause returns the time until the metrics are read again.
func (e *engine) pause() time.Duration {
	var pause time.Duration
	switch {
	case e.unreachable:
		pause = backoff.Pause(e.failures, unreachableFirst, unreachableLongest)
	case e.failures > 0:
		pause = backoff.Pause(e.failures, unreadableFirst, unreadableLongest)
	default:
		pause = e.usualPause()
	}
	return backoff.Jitter(pause, e.watcher.options.Random())
}

// usualPause returns the time between two polls that succeed.
func (e *engine) usualPause() time.Duration {
	if e.sinceWanted() <= busyTime {
		return busyInterval
	}
	return quietInterval
}
