// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Engine is one simulated node. It is an http.Handler; Start also gives it a
// listener of its own. All methods are safe for concurrent use.
type Engine struct {
	cfg     Config
	clock   clock
	created int64 // Unix seconds

	mu     sync.Mutex // guards the ranks' schedulers and the progress of all jobs
	ranks  []*rank
	kick   chan struct{} // wakes the driver: its next event has changed
	stop   chan struct{}
	closed sync.Once
	wg     sync.WaitGroup

	requests atomic.Int64           // number of requests received
	active   atomic.Int64           // generating requests under way: /load
	turns    atomic.Int64           // requests without a pinned rank
	date     atomic.Pointer[string] // see SetTemplateDate
	down     atomic.Bool            // crashed, not healed yet
	faults   faultList

	responses responseStore

	log      history
	listener listener
}

// New returns a running node without a listener, to be served as an
// http.Handler. It must be closed.
func New(cfg Config) (*Engine, error) {
	e, err := newEngine(cfg)
	if err != nil {
		return nil, err
	}
	if err := e.openEvents("127.0.0.1"); err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

// newEngine returns a running node without any socket.
func newEngine(cfg Config) (*Engine, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	e := &Engine{
		cfg:     cfg,
		clock:   newClock(cfg.Speed),
		created: time.Now().Unix(),
		kick:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
	}
	e.faults.changed = make(chan struct{})
	e.SetTemplateDate("")
	e.log.keep, e.log.ranks = cfg.Record, make([]rankCounts, cfg.Ranks)
	if err := e.makeRanks(); err != nil {
		return nil, err
	}
	e.wg.Add(1)
	go e.drive()
	if from, ok := cfg.External.(Reporter); ok && cfg.Events != nil && cfg.Events.External {
		e.wg.Go(func() { e.publishExternal(from) })
	}
	return e, nil
}

// Start returns a node that listens on a free port of 127.0.0.1.
func Start(cfg Config) (*Engine, error) { return StartAt(cfg, "127.0.0.1:0") }

// StartAt returns a node that listens on a TCP address and publishes events on the
// same host.
func StartAt(cfg Config, address string) (*Engine, error) {
	e, err := newEngine(cfg)
	if err != nil {
		return nil, err
	}
	if err := e.listener.open(address, e, func(address string) error {
		e.nameTopics(address)
		host, _, _ := net.SplitHostPort(address) // cannot fail: a listener's address
		return e.openEvents(host)
	}); err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

// Addr returns the node's host:port, "" without a listener. It stays the same
// while the node refuses connections.
func (e *Engine) Addr() string { return e.listener.address() }

// URL returns the node's base URL, without a trailing slash.
func (e *Engine) URL() string { return "http://" + e.Addr() }

// Close ends all connections and requests and stops the scheduler.
func (e *Engine) Close() {
	e.closed.Do(func() { close(e.stop) })
	e.listener.close()
	e.wg.Wait()
	for _, r := range e.ranks {
		if r.publisher != nil {
			r.publisher.close()
		}
	}
}

// drive advances simulated time: it sleeps until the scheduler's next event. A
// late wakeup is harmless, because each event keeps its own time.
func (e *Engine) drive() {
	defer e.wg.Done()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		e.mu.Lock()
		next, busy := e.advance()
		e.mu.Unlock()

		var expired <-chan time.Time // nil while idle: never
		if busy {
			timer.Reset(e.clock.until(next))
			expired = timer.C
		}
		select {
		case <-expired:
		case <-e.kick:
		case <-e.stop:
			return
		}
	}
}

// run is a job with the channel that its handler waits on.
type run struct {
	Job
	engine *Engine
	rank   *rank
	notify chan struct{}
}

// submit queues a request on a rank. The job's lengths and blocks are set.
func (e *Engine) submit(to *rank, j Job) *run {
	r := &run{Job: j, engine: e, rank: to, notify: make(chan struct{}, 1)}
	r.OnProgress = func(*Job) {
		select {
		case r.notify <- struct{}{}:
		default: // a notice is pending already
		}
	}
	e.mu.Lock()
	now := e.clock.now()
	// Events up to now happened before this request arrived.
	to.sched.Advance(now)
	_, busy := to.sched.Next()
	to.sched.Submit(&r.Job, now)
	e.mu.Unlock()
	if !busy {
		select {
		case e.kick <- struct{}{}:
		default:
		}
	}
	return r
}

var errStopped = errors.New("enginesim: the engine was closed")

// wait returns when the job is done or has more than produced tokens. It fails
// when the client or the engine is gone.
func (r *run) wait(ctx context.Context, produced int) (now int, done bool, err error) {
	for {
		r.engine.mu.Lock()
		now, done = r.Produced, r.Done
		r.engine.mu.Unlock()
		if done || now > produced {
			return now, done, nil
		}
		select {
		case <-r.notify:
		case <-ctx.Done():
			return now, false, ctx.Err()
		case <-r.engine.stop:
			return now, false, errStopped
		}
	}
}

// waitAll waits until everything is generated.
func (r *run) waitAll(ctx context.Context) error {
	produced, done, err := 0, false, error(nil)
	for !done && err == nil {
		produced, done, err = r.wait(ctx, produced)
	}
	return err
}

// end cancels the job unless it is done, and returns its final state.
func (r *run) end() Job {
	r.engine.mu.Lock()
	defer r.engine.mu.Unlock()
	r.rank.sched.Cancel(&r.Job, r.engine.clock.now())
	return r.Job
}

// Reset empties the prefix cache, as /reset_prefix_cache does, and forgets
// counters and recordings. Requests under way go on.
func (e *Engine) Reset() {
	e.mu.Lock()
	for _, r := range e.ranks {
		r.sched.ClearCache()
		r.sched.forgetCounts()
	}
	e.mu.Unlock()
	e.log.reset()
}

var _ http.Handler = (*Engine)(nil)
