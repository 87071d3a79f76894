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
	// maxWatched is how many engines are watched at most; further ones are not.
	maxWatched = 1024
	// maxAtOnce is how many are asked at the same time.
	maxConcurrentPolls = 16
)

// Target is where an engine tells about itself.
type Target struct {
	Address string // host:port, spoken to in plain HTTP
	Path    string // of its metrics, such as /metrics
}

// Reporter is told what is learned. Its methods are called from the watch's
// own goroutines, several at a time for different engines.
type Observer interface {
	// Told is called with each new reading.
	Reported(t Target, r Reading)
	// Silent is called when the load in the last reading counts no more.
	LoadExpired(t Target)
	// Restarted is called when the engine's process is another one than
	// before: its KV cache is empty.
	Restarted(t Target)
	// Relisted is called when the engine lists other models than before.
	ModelsChanged(t Target)
}

// Options are what a Watch needs from outside.
type Options struct {
	Transport http.RoundTripper // asks the engines; nil: NewTransport()
	Observer  Observer
	Now       func() time.Time // nil: time.Now
	Random    func() float64   // from 0 to 1, for jitter; nil: rand.Float64
}

// Watch watches engines: those that are named by See, for as long as they are,
// each by a goroutine of its own. It is safe for concurrent use.
type Watcher struct {
	options Options
	ctx     context.Context
	stop    context.CancelFunc
	slots   chan struct{} // one for each engine that is being asked

	mu      sync.Mutex
	closed  bool
	engines map[Target]*engine
	running sync.WaitGroup

	models  atomic.Pointer[ModelTable]
	numDown atomic.Int32 // engines that refused the last connection
}

// NewWatch returns a Watch of no engine. Nothing runs before See.
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

// See notes that requests can be sent to engines now, and starts watching
// those that are not watched. It does not wait for anything.
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
		e.wantedAt.Store(now.UnixNano())
		if !e.running {
			e.running = true
			w.running.Go(e.run)
		}
	}
}

// Suspect notes that an attempt to use an engine has failed: it is looked at
// soon, whenever its turn would have been.
func (w *Watcher) Suspect(address string) {
	w.forAddress(address, (*engine).requestPoll)
}

// Answered notes that an engine has answered a request. One that was found to
// refuse connections is looked at soon, to learn whether it was restarted.
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

// Forget drops what is known of engines that are gone for good.
func (w *Watcher) Forget(address string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for t, e := range w.engines {
		if t.Address == address && !e.running {
			e.setDown(false)
			delete(w.engines, t)
		}
	}
}

// Close stops watching and waits for what is under way to end. See does
// nothing any more; the other methods answer as before.
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

// Models returns what is known of which engine serves which models.
func (w *Watcher) Models() *ModelTable { return w.models.Load() }

// State is what a Watch knows of one engine.
type State struct {
	Target  Target
	Reading Reading   // the last one
	ReadAt  time.Time // when that was; zero: never
	Down    bool      // it refused the last connection
	Models  Models
	Failure error // of the last attempt to read metrics; nil: it succeeded
}

// States returns what is known of the engines at an address, or of all for "",
// the latest reading of an address first.
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
