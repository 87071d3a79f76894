// SPDX-License-Identifier: Apache-2.0

package tokenize

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/backoff"
	"github.com/bauxite/caddy-kvaware/internal/prompt"
)

const (
	// maxRunning bounds the prompts that one engine is asked about at a time, and
	// maxRunningTotal those of all engines: answers are held in memory.
	maxRunning      = 2
	maxRunningTotal = 16
	// maxWaiting bounds the prompts that wait for one engine, and maxWait the time:
	// the tokens of a request sent long ago help no other.
	maxWaiting = 64
	maxWait    = 30 * time.Second
	// After a failure an engine is not asked for firstPause, then for twice as long
	// each time, up to lastPause; with jitter.
	firstPause = 500 * time.Millisecond
	lastPause  = time.Minute
	// maxUpstreams bounds the engines that the queue knows.
	maxUpstreams = 4096
)

// Errors of jobs that were not done; see also the errors of Fetch.
var (
	// ErrDropped: newer jobs took its place, it waited too long, or its upstream
	// is gone.
	ErrDropped = errors.New("tokens: dropped from the queue")
	// ErrClosed: the queue was closed.
	ErrClosed = errors.New("tokens: the queue is closed")
)

// Job is one prompt to tokenize.
type Job struct {
	// Upstream is the engine to ask, host:port.
	Upstream string
	// Key identifies the prompt: while a job is in the queue, no other with its key
	// is accepted, unless the job waits for an engine that fails.
	Key uint64
	// API and Body are the request. Body must not be changed any more.
	API  prompt.API
	Body []byte
	// Done is called exactly once for each accepted job, with its tokens or an
	// error. The tokens are wiped when it returns. It must not block and must not
	// call Close. Any goroutine may call it, also one that calls Add, Forget or
	// Close.
	Done func(t *Tokens, err error)
}

// Queue asks engines about prompts beside the requests: a few at a time, each prompt
// once, no engine that fails, and with a bounded number waiting. It has no goroutine
// while it is idle. An upstream is remembered until Forget.
type Queue struct {
	fetch  func(ctx context.Context, upstream string, api prompt.API, body []byte) (*Tokens, error)
	random func() float64
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu        sync.Mutex
	upstreams map[string]*upstreamJobs
	keys      map[uint64]*upstreamJobs // of jobs that wait or run
	running   int
	blocked   []*upstreamJobs // those that could run but for maxRunningTotal, longest first
	expiry    *time.Timer     // nil while no job waits
	closed    bool
}

// upstreamJobs holds the jobs of one upstream. The queue's mu guards it.
type upstreamJobs struct {
	upstream     string
	waiting      []waitingJob
	running      int
	waitsForSlot bool
	failures     int // in a row
	pause        *time.Timer
	paused       bool
	state        State
}

// waitingJob is a job that waits.
type waitingJob struct {
	Job
	since time.Time
}

// State describes the jobs of one upstream.
type State struct {
	Upstream string
	// Waiting and Running count the jobs in the queue.
	Waiting, Running int
	// Fetched, Failed and Dropped count the jobs that have left it. Unsupported
	// requests, and those that the engine declines, are Failed too.
	Fetched, Failed, Dropped uint64
	// LastError is the latest job's error, nil for none. Its text is fixed.
	LastError error
}

// NewQueue returns a queue that asks through f. random returns numbers from 0 to
// below 1; nil is the default source.
func NewQueue(f *Fetcher, random func() float64) *Queue {
	return newQueue(f.Fetch, random)
}

func newQueue(fetch func(context.Context, string, prompt.API, []byte) (*Tokens, error), random func() float64) *Queue {
	if random == nil {
		random = rand.Float64
	}
	q := &Queue{fetch: fetch, random: random, upstreams: make(map[string]*upstreamJobs), keys: make(map[uint64]*upstreamJobs)}
	q.ctx, q.cancel = context.WithCancel(context.Background())
	return q
}

// Add accepts a job, unless one with its key is in the queue, or the queue is closed
// or knows too many upstreams. When too many jobs wait for the upstream, the oldest
// is dropped.
func (q *Queue) Add(j Job) bool {
	q.mu.Lock()
	u := q.upstream(j.Upstream)
	if q.closed || u == nil {
		q.mu.Unlock()
		return false
	}
	replaced := q.takeFromFailing(j.Key, u)
	if q.keys[j.Key] != nil {
		q.mu.Unlock()
		return false
	}
	q.keys[j.Key] = u
	u.waiting = append(u.waiting, waitingJob{j, time.Now()})
	out := u.takeExpired()
	q.drop(u, out)
	out = append(out, replaced...)
	q.dispatch(u)
	if len(u.waiting) > 0 && q.expiry == nil {
		q.expiry = time.AfterFunc(maxWait, q.expire)
	}
	q.mu.Unlock()
	failAll(out, ErrDropped)
	return true
}

// takeFromFailing takes the job with a key out if it waits for an engine that fails,
// and u does not: the tokens come from there sooner.
func (q *Queue) takeFromFailing(key uint64, u *upstreamJobs) []waitingJob {
	other := q.keys[key]
	if other == nil || other.failures == 0 || u.failures > 0 {
		return nil
	}
	i := slices.IndexFunc(other.waiting, func(w waitingJob) bool { return w.Key == key })
	if i < 0 {
		return nil // it is being asked
	}
	out := []waitingJob{other.waiting[i]}
	other.waiting = slices.Delete(other.waiting, i, i+1)
	q.drop(other, out)
	return out
}

// expire drops jobs that have waited too long: prompts are kept no longer than that,
// also while nothing else happens.
func (q *Queue) expire() {
	var out []waitingJob
	var oldest time.Time
	q.mu.Lock()
	for _, u := range q.upstreams {
		late := u.takeExpired()
		q.drop(u, late)
		out = append(out, late...)
		if len(u.waiting) > 0 && (oldest.IsZero() || u.waiting[0].since.Before(oldest)) {
			oldest = u.waiting[0].since
		}
	}
	q.expiry = nil
	if !oldest.IsZero() {
		q.expiry = time.AfterFunc(time.Until(oldest.Add(maxWait)), q.expire)
	}
	q.mu.Unlock()
	failAll(out, ErrDropped)
}

// upstream returns the jobs of an upstream, nil if there are too many upstreams.
func (q *Queue) upstream(upstream string) *upstreamJobs {
	u := q.upstreams[upstream]
	if u == nil && len(q.upstreams) < maxUpstreams {
		u = &upstreamJobs{upstream: upstream, state: State{Upstream: upstream}}
		q.upstreams[upstream] = u
	}
	return u
}

// takeExpired takes the jobs out that have waited too long, or are too many.
func (u *upstreamJobs) takeExpired() []waitingJob {
	now, n := time.Now(), max(0, len(u.waiting)-maxWaiting)
	for n < len(u.waiting) && now.Sub(u.waiting[n].since) >= maxWait {
		n++
	}
	out := slices.Clone(u.waiting[:n])
	u.waiting = slices.Delete(u.waiting, 0, n)
	return out
}

// drop forgets jobs that were taken out.
func (q *Queue) drop(u *upstreamJobs, out []waitingJob) {
	for _, t := range out {
		delete(q.keys, t.Key)
	}
	u.state.Dropped += uint64(len(out))
}

// failAll calls Done with an error. The queue must not be locked.
func failAll(out []waitingJob, err error) {
	for _, t := range out {
		t.Done(nil, err)
	}
}

// dispatch starts as many jobs of an upstream as it may have.
func (q *Queue) dispatch(u *upstreamJobs) {
	most := maxRunning
	if u.failures > 0 {
		most = 1 // to find out whether it has recovered
	}
	for len(u.waiting) > 0 && u.running < most && !u.paused && !q.closed {
		if q.running == maxRunningTotal {
			if !u.waitsForSlot {
				u.waitsForSlot = true
				q.blocked = append(q.blocked, u)
			}
			return
		}
		t := u.waiting[0]
		u.waiting = slices.Delete(u.waiting, 0, 1)
		u.running++
		q.running++
		q.work.Go(func() { q.run(u, t.Job) })
	}
}

// run does one job.
func (q *Queue) run(u *upstreamJobs, j Job) {
	t, err := q.fetch(q.ctx, j.Upstream, j.API, j.Body)
	if q.ctx.Err() != nil && err != nil {
		err = ErrClosed
	}
	j.Done(t, err)
	if t != nil {
		t.Wipe()
	}
	q.mu.Lock()
	delete(q.keys, j.Key)
	u.running--
	q.running--
	q.recordResult(u, err)
	out := u.takeExpired()
	q.drop(u, out)
	q.dispatch(u)
	for q.running < maxRunningTotal && len(q.blocked) > 0 {
		next := q.blocked[0]
		q.blocked = slices.Delete(q.blocked, 0, 1)
		next.waitsForSlot = false
		q.dispatch(next)
	}
	q.mu.Unlock()
	failAll(out, ErrDropped)
}

// recordResult counts a result, and pauses an engine that fails. A failure of one
// request alone says nothing about others.
func (q *Queue) recordResult(u *upstreamJobs, err error) {
	u.state.LastError = err
	if err == nil {
		u.state.Fetched++
		u.failures = 0
		return
	}
	u.state.Failed++
	switch err {
	case ErrUnsupported, ErrUnavailable, ErrDeclined, ErrTooLarge, ErrClosed:
		return
	}
	u.failures++
	if u.paused || q.closed || q.upstreams[u.upstream] != u {
		return
	}
	pause := backoff.Jitter(backoff.Pause(u.failures, firstPause, lastPause), q.random())
	u.paused = true
	u.pause = time.AfterFunc(pause, func() { q.resume(u) })
}

// resume ends a pause.
func (q *Queue) resume(u *upstreamJobs) {
	q.mu.Lock()
	u.paused = false
	out := u.takeExpired()
	q.drop(u, out)
	q.dispatch(u)
	q.mu.Unlock()
	failAll(out, ErrDropped)
}

// Failing reports whether the latest answer of an upstream was a failure: the next
// one may take long.
func (q *Queue) Failing(upstream string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.upstreams[upstream]
	return u != nil && u.failures > 0
}

// Forget drops an upstream's waiting jobs and all that is known of it.
func (q *Queue) Forget(upstream string) {
	q.mu.Lock()
	u := q.upstreams[upstream]
	if u == nil {
		q.mu.Unlock()
		return
	}
	delete(q.upstreams, upstream)
	out := q.takeAll(u)
	q.mu.Unlock()
	failAll(out, ErrDropped)
}

// takeAll takes all waiting jobs of an upstream out.
func (q *Queue) takeAll(u *upstreamJobs) []waitingJob {
	if u.pause != nil {
		u.pause.Stop()
	}
	out := u.waiting
	u.waiting = nil
	q.drop(u, out)
	return out
}

// States describes the jobs of all upstreams, in order of their names.
func (q *Queue) States() []State {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := make([]State, 0, len(q.upstreams))
	for _, u := range q.upstreams {
		all = append(all, u.snapshot())
	}
	slices.SortFunc(all, func(a, b State) int { return cmp.Compare(a.Upstream, b.Upstream) })
	return all
}

// State describes the jobs of one upstream, if it is known.
func (q *Queue) State(upstream string) (s State, known bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.upstreams[upstream]
	if u == nil {
		return s, false
	}
	return u.snapshot(), true
}

func (u *upstreamJobs) snapshot() State {
	s := u.state
	s.Waiting, s.Running = len(u.waiting), u.running
	return s
}

// Close cancels running jobs and waits for them. Waiting jobs end with ErrClosed. It
// may be called again.
func (q *Queue) Close() {
	q.mu.Lock()
	q.closed = true
	q.cancel()
	var out []waitingJob
	for _, u := range q.upstreams {
		out = append(out, q.takeAll(u)...)
	}
	q.blocked = nil
	if q.expiry != nil {
		q.expiry.Stop()
	}
	q.mu.Unlock()
	failAll(out, ErrClosed)
	q.work.Wait()
}
