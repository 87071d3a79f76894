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

// watched is one engine that is watched.
type watched struct {
	watcher *Watcher
	target  Target
	seen    atomic.Int64  // when a request could last have been sent there, in Unix nanoseconds
	nudged  chan struct{} // holds one when it is to be looked at soon
	isDown  atomic.Bool

	running bool // a goroutine runs; covered by the watch's mu

	mu    sync.Mutex // covers state for those who ask; only run writes it
	state State

	// Of the goroutine alone.
	life       life
	failures   int  // to read metrics, in a row
	gone       bool // these were without an answer
	loaded     bool
	lastLook   time.Time
	nextModels time.Time
	listed     Models // the last list that could be read
	noModels   int    // failures to read the models, in a row
}

func newWatched(w *Watcher, t Target) *watched {
	return &watched{
		watcher: w,
		target:  t,
		nudged:  make(chan struct{}, 1),
		state:   State{Target: t, Reading: Reading{Usage: -1}},
	}
}

func (e *watched) nudge() {
	select {
	case e.nudged <- struct{}{}:
	default: // it is to be looked at already
	}
}

func (e *watched) snapshot() State {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.state
}

// run looks at the engine again and again, until no request can be sent there
// any more or the watch is closed.
func (e *watched) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var due time.Time
	for {
		select {
		case <-e.watcher.ctx.Done():
			e.rest()
			return
		case <-e.nudged:
			if soon := e.lastLook.Add(lookGap); soon.Before(due) {
				due = soon
			}
		case <-timer.C:
		}
		if e.leave() {
			return
		}
		now := e.watcher.options.Now()
		if !now.Before(due) {
			if !e.look() {
				e.rest()
				return
			}
			now = e.watcher.options.Now()
			due = now.Add(e.pause())
		}
		// Awake in time to notice that it has become idle.
		timer.Reset(max(0, min(due.Sub(now), idleAfter-e.sinceSeen()+1)))
	}
}

// idle reports whether no request could have been sent there lately.
func (e *watched) idle() bool { return e.sinceSeen() > idleAfter }

func (e *watched) sinceSeen() time.Duration {
	return e.watcher.options.Now().Sub(time.Unix(0, e.seen.Load()))
}

// leave ends the goroutine of an idle engine. What is known of its process
// stays, to tell later whether it was restarted in between.
func (e *watched) leave() bool {
	if !e.idle() {
		return false
	}
	e.rest()
	e.watcher.mu.Lock()
	defer e.watcher.mu.Unlock()
	if !e.idle() && !e.watcher.closed {
		return false // it was seen again just now: go on
	}
	e.running = false
	return true
}

// rest takes back what is only true while it is looked at.
func (e *watched) rest() {
	e.silence()
	e.nextModels = time.Time{}
	e.setModels(nil)
}

// look asks the engine once. It is false when the watch was closed meanwhile.
func (e *watched) look() bool {
	ctx := e.watcher.ctx
	select {
	case e.watcher.slots <- struct{}{}:
		defer func() { <-e.watcher.slots }()
	case <-ctx.Done():
		return false
	}
	e.lastLook = e.watcher.options.Now()
	reading, err := fetchMetrics(ctx, e.watcher.options.Transport, e.target.Address, e.target.Path)
	if ctx.Err() != nil {
		return false
	}
	e.take(reading, err)
	if !isGone(err) {
		e.lookAtModels(ctx)
	}
	return ctx.Err() == nil
}

// isGone reports whether an attempt got no answer at all.
func isGone(err error) bool {
	return errors.Is(err, ErrRefused) || errors.Is(err, ErrUnreachable)
}

// take draws the conclusions from a reading, or from the lack of one.
//
// A refused connection means that nothing listens there: the process is gone,
// and its cache with it. That is concluded when something listens again, and
// not when it says that it is the process of before: something on the way may
// have refused. A timeout, on the other hand, means nothing.
func (e *watched) take(r Reading, err error) {
	answered := !isGone(err)
	back := answered && e.isDown.Load()
	restarted := false
	if err == nil {
		if back {
			restarted = !e.life.same(r)
			e.life.restarted(r)
		} else {
			restarted = e.life.restarted(r)
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
		e.nextModels = time.Time{} // it may serve others now
		e.watcher.options.Observer.Restarted(e.target)
	}
	e.note(r, err)
}

// note keeps a reading and passes it on.
func (e *watched) note(r Reading, err error) {
	e.mu.Lock()
	e.state.Failure = err
	if err == nil {
		e.state.Reading, e.state.ReadAt = r, e.lastLook
	}
	stale := e.lastLook.Sub(e.state.ReadAt) >= loadFor
	e.mu.Unlock()
	if gone := isGone(err); gone != e.gone {
		e.gone, e.failures = gone, 0
	}
	if err != nil {
		e.failures++
		if stale || errors.Is(err, ErrRefused) {
			e.silence()
		}
		return
	}
	e.failures = 0
	e.loaded = true
	e.watcher.options.Observer.Reported(e.target, r)
}

// silence takes back the load of the last reading.
func (e *watched) silence() {
	if e.loaded {
		e.loaded = false
		e.watcher.options.Observer.LoadExpired(e.target)
	}
}

func (e *watched) setDown(down bool) {
	if e.isDown.Swap(down) != down {
		if down {
			e.watcher.down.Add(1)
		} else {
			e.watcher.down.Add(-1)
		}
	}
	e.mu.Lock()
	e.state.Down = down
	e.mu.Unlock()
}

// lookAtModels reads the list of models when it is time to. A list that
// cannot be read says nothing: the engine may serve anything.
func (e *watched) lookAtModels(ctx context.Context) {
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
		e.noModels++
		pause = backoff.Pause(e.noModels, uselessFirst, uselessMost)
	} else {
		e.noModels = 0
	}
	e.nextModels = now.Add(backoff.Jitter(pause, e.watcher.options.Random()))
	e.setModels(models)
}

func (e *watched) setModels(models Models) {
	e.mu.Lock()
	e.state.Models = models
	e.mu.Unlock()
	e.watcher.retable()
	if len(models) == 0 {
		return // it is not known which
	}
	if len(e.listed) > 0 && !slices.Equal(models, e.listed) {
		e.watcher.options.Observer.ModelsChanged(e.target)
	}
	e.listed = models
}

// pause is how long to wait before the next look.
func (e *watched) pause() time.Duration {
	var pause time.Duration
	switch {
	case e.gone:
		pause = backoff.Pause(e.failures, goneFirst, goneMost)
	case e.failures > 0:
		pause = backoff.Pause(e.failures, uselessFirst, uselessMost)
	case e.sinceSeen() <= busyFor:
		pause = busyInterval
	default:
		pause = quietInterval
	}
	return backoff.Jitter(pause, e.watcher.options.Random())
}
