// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxWatched bounds the engines that are watched; Watch ignores further ones.
	maxWatched = 1024
	// maxConcurrentPolls bounds the engines that are asked at the same time.
	maxConcurrentPolls = 16
)

// Target is the place of one engine's metrics.
type Target struct {
	Address string // host:port, spoken to in plain HTTP
	Path    string // of its metrics, such as /metrics
}

// Observer gets the news of engines. A Watcher calls it from its own goroutines,
// several at a time for different engines.
type Observer interface {
	// Reported is called with each new reading.
	Reported(t Target, r Reading)
	// LoadExpired is called when the load in the last reading counts no more.
	LoadExpired(t Target)
	// Restarted is called when another process answers for the engine: its KV
	// cache is empty.
	Restarted(t Target)
	// CacheCleared is called when the engine has discarded its KV cache: it sleeps, or
	// its prefix cache was reset while it was idle. It may report that itself only
	// when it has work again.
	CacheCleared(t Target)
	// ModelsRead is called with each list that could be read. asked is the time of
	// the request for it.
	ModelsRead(t Target, list Models, asked time.Time)
	// ModelsChanged is called when the engine lists other models than before, or
	// the same with another meaning.
	ModelsChanged(t Target, before, now Models)
}

// Options configure a Watcher.
type Options struct {
	Transport http.RoundTripper // asks the engines; nil: NewTransport()
	Observer  Observer
	Now       func() time.Time // nil: time.Now
	Random    func() float64   // from 0 to 1, for jitter; nil: rand.Float64
}

// Watcher polls engines, each from a goroutine of its own, for as long as Watch
// names them. It is safe for concurrent use.
type Watcher struct {
	options Options
	ctx     context.Context
	stop    context.CancelFunc
	slots   chan struct{} // holds one for each poll under way

	mu      sync.Mutex
	closed  bool
	engines map[Target]*engine
	running sync.WaitGroup

	models  atomic.Pointer[ModelTable]
	numDown atomic.Int32 // counts engines that refused the last connection
}

// NewWatcher returns a Watcher that watches nothing yet.
func NewWatcher(o Options) *Watcher {
	if o.Transport == nil {
		o.Transport = NewTransport()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Random == nil {
		o.Random = rand.Float64
	}
	w := &Watcher{
		options: o,
		slots:   make(chan struct{}, maxConcurrentPolls),
		engines: make(map[Target]*engine),
	}
	w.ctx, w.stop = context.WithCancel(context.Background())
	w.models.Store(newModelTable(nil))
	return w
}

// Watch polls engines for the next minute, since requests can be sent to them
// now. It does not wait.
func (w *Watcher) Watch(targets ...Target) {
	now := w.options.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	for _, t := range targets {
		e := w.engines[t]
		if e == nil {
			if len(w.engines) >= maxWatched {
				continue
			}
			e = newEngine(w, t)
			w.engines[t] = e
		}
		quiet := now.Sub(time.Unix(0, e.wantedAt.Swap(now.UnixNano()))) > busyTime
		if !e.running {
			e.running = true
			w.running.Go(e.run)
		} else if quiet {
			e.requestPoll() // what is known of it may be old
		}
	}
}

// Suspect polls an engine soon, since an attempt to use it has failed.
func (w *Watcher) Suspect(address string) {
	w.forAddress(address, (*engine).requestPoll)
}

// Relist has an engine's list of models read soon, since a request has met
// something that the list does not say. However often it is called, the list is
// read every two seconds at most.
func (w *Watcher) Relist(addresses ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for t, e := range w.engines {
		if e.running && slices.Contains(addresses, t.Address) {
			e.requestModels()
		}
	}
}

// Answered notes that an engine has answered a request. If it refused the last
// connection, it is polled soon, to learn whether it was restarted.
func (w *Watcher) Answered(address string) {
	if w.numDown.Load() > 0 {
		w.forAddress(address, func(e *engine) {
			if e.isDown.Load() {
				e.requestPoll()
			}
		})
	}
}

func (w *Watcher) forAddress(address string, do func(*engine)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for t, e := range w.engines {
		if t.Address == address && e.running {
			do(e)
		}
	}
}

// Forget drops the state of an engine that is not polled any more.
func (w *Watcher) Forget(address string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for t, e := range w.engines {
		if t.Address == address && !e.running {
			e.setDown(false)
			delete(w.engines, t)
			w.makeTable()
		}
	}
}

// Close stops polling and waits for the polls under way. Watch has no effect
// after that; the other methods answer as before.
func (w *Watcher) Close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.stop()
	w.running.Wait()
	if t, ok := w.options.Transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// Models returns the models of each engine, as far as they are known.
func (w *Watcher) Models() *ModelTable { return w.models.Load() }

// State describes one engine, as its Watcher knows it.
type State struct {
	Target  Target
	Reading Reading   // the last one
	ReadAt  time.Time // of Reading; zero: never
	Down    bool      // it refused the last connection
	Models  Models
	Failure error // of the last attempt to read metrics; nil: it succeeded
}

// States returns the states of the engines at an address, or of all for "", the
// latest reading first.
func (w *Watcher) States(address string) (states []State) {
	w.mu.Lock()
	for t, e := range w.engines {
		if address == "" || t.Address == address {
			states = append(states, e.snapshot())
		}
	}
	w.mu.Unlock()
	slices.SortFunc(states, func(a, b State) int { return b.ReadAt.Compare(a.ReadAt) })
	return states
}
