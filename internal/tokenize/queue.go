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
	// atOnce is how many prompts an engine is asked about at a time, and
	// atOnceAll how many all engines are: answers are in memory meanwhile.
	maxRunning      = 2
	maxRunningTotal = 16
	// maxWaiting is how many prompts wait for one engine at most, and maxWait
	// how long: the tokens of what was sent long ago help nobody.
	maxWaiting = 64
	maxWait    = 30 * time.Second
	// After a failure an engine is left alone for firstPause, then for twice as
	// long each time, up to lastPause, with jitter.
	firstPause = 500 * time.Millisecond
	lastPause  = time.Minute
	// maxUpstreams is how many engines the queue knows at most.
	maxUpstreams = 4096
)

// Why a job was not done; see also the errors of Fetch.
var (
	// ErrDropped: newer jobs took its place, it waited too long, or its
	// upstream is gone.
	ErrDropped = errors.New("tokens: dropped from the queue")
	// ErrClosed: the queue has been closed.
	ErrClosed = errors.New("tokens: the queue is closed")
)

// Job is one prompt to ask about.
type Job struct {
	// Upstream is the engine to ask, host:port.
	Upstream string
	// Key is equal for jobs that are after the same: while one is in the queue,
	// no other is taken.
	Key uint64
	// API and Body are the request. Body must not be changed any more.
	API  prompt.API
	Body []byte
	// Done is called exactly once for each job that was taken, with its tokens
	// or an error. The tokens are wiped when it returns. It must not block
	// and not call Close. Any goroutine may call it, one that calls Add, Forget
	// or Close too.
	Done func(t *Tokens, err error)
}

// Queue asks engines about prompts beside the requests: a few at a time, each
// prompt once, none of an engine that fails, and never more waiting than help.
// There is no goroutine while nothing is to be done. An upstream is remembered
// until Forget.
type Queue struct {
	fetch  func(ctx context.Context, upstream string, api prompt.API, body []byte) (*Tokens, error)
	random func() float64
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu        sync.Mutex
	upstreams map[string]*upstreamJobs
	keys      map[uint64]struct{} // of jobs that wait or run
	running   int
	blocked   []*upstreamJobs // that could run but for atOnceAll, longest first
	expiry    *time.Timer     // nil while nothing waits
	closed    bool
}

// line is what waits for one upstream. All of it is under the queue's mu.
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

// ticket is a job that waits.
type waitingJob struct {
	Job
	since time.Time
}

// State is what became of the jobs of one upstream.
type State struct {
	Upstream string
	// Waiting and Running are how many jobs are in the queue.
	Waiting, Running int
	// Fetched, Failed and Dropped are how many have left it, and how. Requests
	// that cannot be asked about, or that the engine declines, are Failed too.
	Fetched, Failed, Dropped uint64
	// Failure is why the last one failed, nil when it did not. Its text is fixed.
	LastError error
}

// NewQueue returns a queue that asks through f. random gives numbers from 0 to
// below 1; nil is the default source.
func NewQueue(f *Fetcher, random func() float64) *Queue {
	return newQueue(f.Fetch, random)
}

func newQueue(fetch func(context.Context, string, prompt.API, []byte) (*Tokens, error), random func() float64) *Queue {
	if random == nil {
		random = rand.Float64
	}
	q := &Queue{fetch: fetch, random: random, upstreams: make(map[string]*upstreamJobs), keys: make(map[uint64]struct{})}
	q.ctx, q.cancel = context.WithCancel(context.Background())
	return q
}

// Add takes a job, unless one with its key is in the queue, the queue has been
// closed or knows too many upstreams. When too many wait for the upstream, the
// oldest is dropped.
func (q *Queue) Add(j Job) bool {
	q.mu.Lock()
	l := q.upstream(j.Upstream)
	if _, there := q.keys[j.Key]; q.closed || l == nil || there {
		q.mu.Unlock()
		return false
	}
	q.keys[j.Key] = struct{}{}
	l.waiting = append(l.waiting, waitingJob{j, time.Now()})
	out := l.takeExpired()
	q.drop(l, out)
	q.dispatch(l)
	if len(l.waiting) > 0 && q.expiry == nil {
		q.expiry = time.AfterFunc(maxWait, q.expire)
	}
	q.mu.Unlock()
	failAll(out, ErrDropped)
	return true
}

// expire drops what has waited too long: prompts are kept no longer than that,
// also while nothing else happens.
func (q *Queue) expire() {
	var out []waitingJob
	var oldest time.Time
	q.mu.Lock()
	for _, l := range q.upstreams {
		late := l.takeExpired()
		q.drop(l, late)
		out = append(out, late...)
		if len(l.waiting) > 0 && (oldest.IsZero() || l.waiting[0].since.Before(oldest)) {
			oldest = l.waiting[0].since
		}
	}
	q.expiry = nil
	if !oldest.IsZero() {
		q.expiry = time.AfterFunc(time.Until(oldest.Add(maxWait)), q.expire)
	}
	q.mu.Unlock()
	failAll(out, ErrDropped)
}

// line returns the line of an upstream, nil if there are too many.
func (q *Queue) upstream(upstream string) *upstreamJobs {
	l := q.upstreams[upstream]
	if l == nil && len(q.upstreams) < maxUpstreams {
		l = &upstreamJobs{upstream: upstream, state: State{Upstream: upstream}}
		q.upstreams[upstream] = l
	}
	return l
}

// outdated takes those out that have waited too long, or too many.
func (l *upstreamJobs) takeExpired() []waitingJob {
	now, n := time.Now(), max(0, len(l.waiting)-maxWaiting)
	for n < len(l.waiting) && now.Sub(l.waiting[n].since) >= maxWait {
		n++
	}
	out := slices.Clone(l.waiting[:n])
	l.waiting = slices.Delete(l.waiting, 0, n)
	return out
}

// drop forgets tickets that were taken out of a line.
func (q *Queue) drop(l *upstreamJobs, out []waitingJob) {
	for _, t := range out {
		delete(q.keys, t.Key)
	}
	l.state.Dropped += uint64(len(out))
}

// finish tells jobs that they will not be done. The queue must not be locked.
func failAll(out []waitingJob, err error) {
	for _, t := range out {
		t.Done(nil, err)
	}
}

// dispatch starts jobs of a line as far as it may have more.
func (q *Queue) dispatch(l *upstreamJobs) {
	most := maxRunning
	if l.failures > 0 {
		most = 1 // to find out whether it is well again
	}
	for len(l.waiting) > 0 && l.running < most && !l.paused && !q.closed {
		if q.running == maxRunningTotal {
			if !l.waitsForSlot {
				l.waitsForSlot = true
				q.blocked = append(q.blocked, l)
			}
			return
		}
		t := l.waiting[0]
		l.waiting = slices.Delete(l.waiting, 0, 1)
		l.running++
		q.running++
		q.work.Go(func() { q.run(l, t.Job) })
	}
}

// do asks about one prompt.
func (q *Queue) run(l *upstreamJobs, j Job) {
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
	l.running--
	q.running--
	q.recordResult(l, err)
	out := l.takeExpired()
	q.drop(l, out)
	q.dispatch(l)
	for q.running < maxRunningTotal && len(q.blocked) > 0 {
		next := q.blocked[0]
		q.blocked = slices.Delete(q.blocked, 0, 1)
		next.waitsForSlot = false
		q.dispatch(next)
	}
	q.mu.Unlock()
	failAll(out, ErrDropped)
}

// judge counts how a job ended, and leaves an engine alone that fails. That one
// request cannot be asked about says nothing of others.
func (q *Queue) recordResult(l *upstreamJobs, err error) {
	l.state.LastError = err
	if err == nil {
		l.state.Fetched++
		l.failures = 0
		return
	}
	l.state.Failed++
	switch err {
	case ErrUnsupported, ErrUnavailable, ErrDeclined, ErrTooLarge, ErrClosed:
		return
	}
	l.failures++
	if l.paused || q.closed || q.upstreams[l.upstream] != l {
		return
	}
	pause := backoff.Jitter(backoff.Pause(l.failures, firstPause, lastPause), q.random())
	l.paused = true
	l.pause = time.AfterFunc(pause, func() { q.resume(l) })
}

// resume ends a pause.
func (q *Queue) resume(l *upstreamJobs) {
	q.mu.Lock()
	l.paused = false
	out := l.takeExpired()
	q.drop(l, out)
	q.dispatch(l)
	q.mu.Unlock()
	failAll(out, ErrDropped)
}

// Failing reports whether the last answer of an upstream was none: it may take
// long until there is one.
func (q *Queue) Failing(upstream string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.upstreams[upstream]
	return l != nil && l.failures > 0
}

// Forget drops what waits for an upstream and everything known of it.
func (q *Queue) Forget(upstream string) {
	q.mu.Lock()
	l := q.upstreams[upstream]
	if l == nil {
		q.mu.Unlock()
		return
	}
	delete(q.upstreams, upstream)
	out := q.takeAll(l)
	q.mu.Unlock()
	failAll(out, ErrDropped)
}

// empty takes everything out of a line.
func (q *Queue) takeAll(l *upstreamJobs) []waitingJob {
	if l.pause != nil {
		l.pause.Stop()
	}
	out := l.waiting
	l.waiting = nil
	q.drop(l, out)
	return out
}

// States lists what became of the jobs of each upstream, in order of their
// names.
func (q *Queue) States() []State {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := make([]State, 0, len(q.upstreams))
	for _, l := range q.upstreams {
		all = append(all, l.snapshot())
	}
	slices.SortFunc(all, func(a, b State) int { return cmp.Compare(a.Upstream, b.Upstream) })
	return all
}

// State tells what became of the jobs of one upstream, and whether it is known.
func (q *Queue) State(upstream string) (s State, known bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.upstreams[upstream]
	if l == nil {
		return s, false
	}
	return l.snapshot(), true
}

func (l *upstreamJobs) snapshot() State {
	s := l.state
	s.Waiting, s.Running = len(l.waiting), l.running
	return s
}

// Close ends everything: what runs is cut off and waited for, what waits is
// told ErrClosed. It may be called again.
func (q *Queue) Close() {
	q.mu.Lock()
	q.closed = true
	q.cancel()
	var out []waitingJob
	for _, l := range q.upstreams {
		out = append(out, q.takeAll(l)...)
	}
	q.blocked = nil
	if q.expiry != nil {
		q.expiry.Stop()
	}
	q.mu.Unlock()
	failAll(out, ErrClosed)
	q.work.Wait()
}
