// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"cmp"
	"context"
	"math"
	"sync/atomic"
	"time"
)

const (
	// A staging is polled after firstPoll, then less and less often, down to every
	// lastPoll.
	firstPoll = 5 * time.Millisecond
	lastPoll  = 100 * time.Millisecond
	// pollTimeout bounds the wait for the answer to a poll.
	pollTimeout = time.Second

	// nearlyAll is the share of the expected tokens from which on a staging counts as
	// complete: the expectation is an estimate from the prompt's text, and LMCache keeps
	// whole chunks only.
	nearlyAll = 0.9

	// newestShare is the weight of the latest value in a moving average.
	newestShare = 0.3
)

// Staging is one order to LMCache. Several requests may share it.
type Staging struct {
	service *Service
	node    *node
	key     stagingKey
	probe   bool // it is the single call that the node's breaker let through
	used    atomic.Bool
	done    chan struct{} // closed at the end, when the fields below are set

	result  Result
	tokens  int // in CPU memory now, as LMCache reports
	endedAt time.Time
}

// endedStaging returns a staging that was never begun.
func endedStaging(s *Service, r Result) *Staging {
	st := &Staging{service: s, result: r, done: make(chan struct{})}
	close(st.done)
	return st
}

// Done returns a channel that is closed when the staging has ended.
func (st *Staging) Done() <-chan struct{} { return st.done }

// Result returns the outcome of the staging, and the number of the prefix's tokens in
// CPU memory now, as LMCache reports; Submitted while it is under way.
func (st *Staging) Result() (Result, int) {
	select {
	case <-st.done:
		return st.result, st.tokens
	default:
		return Submitted, 0
	}
}

// Use notes that a request has used the staging: its engine took tokens of the
// prefix from a cache. A staging that none uses is counted as wasted.
func (st *Staging) Use() { st.used.Store(true) }

// Waste counts a staging as wasted now, not only when no request has used it for a
// while. It does nothing if a request has used it, or nothing was staged.
func (st *Staging) Waste() {
	if _, tokens := st.Result(); tokens > 0 {
		st.service.countWasted(st)
	}
}

// countWasted counts an ended staging as wasted, unless it was used or counted
// before.
func (s *Service) countWasted(st *Staging) {
	if st.tokens > 0 && !st.used.Swap(true) {
		s.counters.wasted.Add(1)
	}
}

// isCurrent reports whether the staging is under way, or so fresh that another one is
// not needed.
func (st *Staging) isCurrent(now time.Time, restageAfter time.Duration) bool {
	select {
	case <-st.done:
		return st.result.done() && now.Sub(st.endedAt) < restageAfter
	default:
		return true
	}
}

// run does a staging from its wait for a slot to its end.
func (s *Service) run(st *Staging, p *Prefix, release func()) {
	acquired := s.acquireSlot(st.node)
	s.mu.Lock()
	s.queued--
	s.queuedTokens -= len(p.Tokens)
	s.mu.Unlock()
	if !acquired {
		release()
		s.end(st, Limited, 0, notAsked)
		return
	}
	defer func() { <-st.node.slots }()
	if p.late(s.options.Now()) {
		release()
		s.end(st, Late, 0, notAsked)
		return
	}
	tokens, model := len(p.Tokens), p.Model
	expected := cmp.Or(min(p.Expected, tokens), tokens)
	job, err := s.submit(st.key.upstream, p)
	release()
	if err != nil {
		if err == ErrNoLayout {
			s.noLayout(st.node, model)
		}
		s.end(st, resultOf(err), 0, verdictOf(err))
		return
	}
	if job.ID == "" {
		s.end(st, Noop, 0, healthy)
		return
	}
	s.counters.add(Submitted)
	s.pollUntilDone(st, job, tokens, expected)
}

// acquireSlot waits until the node may work on another staging, and reports whether
// it may.
func (s *Service) acquireSlot(n *node) bool {
	timer := time.NewTimer(s.options.QueueTimeout)
	defer timer.Stop()
	select {
	case n.slots <- struct{}{}:
		return true
	case <-timer.C:
	case <-s.ctx.Done():
	}
	return false
}

// submit sends the order.
func (s *Service) submit(upstream string, p *Prefix) (Job, error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.options.SubmitTimeout)
	defer cancel()
	select {
	case s.sendSlots <- struct{}{}:
		defer func() { <-s.sendSlots }()
		return s.options.Client.Submit(ctx, upstream, p)
	case <-ctx.Done():
		return Job{}, errBusy
	}
}

// noLayout notes that a node has no KV layout of a model.
func (s *Service) noLayout(n *node, model string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n.noLayoutUntil == nil || len(n.noLayoutUntil) >= maxModels {
		n.noLayoutUntil = make(map[string]time.Time)
	}
	n.noLayoutUntil[model] = s.options.Now().Add(layoutPause)
}

// pollUntilDone polls to the end, also of stagings that nothing waits for: LMCache
// forgets a job only after it has reported its end.
func (s *Service) pollUntilDone(st *Staging, job Job, tokens, expected int) {
	ctx, cancel := context.WithTimeout(s.ctx, s.options.StageTimeout)
	defer cancel()
	start := s.options.Now()
	for pause := firstPoll; ; pause = min(pause*8/5, lastPoll) {
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			s.end(st, TimedOut, 0, sick)
			return
		}
		progress, err := s.poll(ctx, st.key.upstream, job)
		switch {
		case err == ErrNotFound:
			s.end(st, Lost, 0, sick)
		case err != nil:
			s.end(st, resultOf(err), 0, verdictOf(err))
		case progress.Done:
			s.staged(st, job, progress, tokens, expected, s.options.Now().Sub(start))
		default:
			continue
		}
		return
	}
}

func (s *Service) poll(ctx context.Context, upstream string, job Job) (Progress, error) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	return s.options.Client.Poll(ctx, upstream, job)
}

// staged ends a staging that LMCache reports as completed. What a prompt says anew
// cannot be found.
func (s *Service) staged(st *Staging, job Job, p Progress, tokens, expected int, took time.Duration) {
	staged := 0
	if p.Total > 0 {
		share := float64(p.Found) / float64(p.Total)
		staged = min(int(share*float64(job.Chunks)*float64(max(job.ChunkTokens, 1))), tokens)
	}
	result := Completed
	if p.Total == 0 || p.Found < p.Total && (expected == tokens || float64(staged) < nearlyAll*float64(expected)) {
		result = Partial
	}
	if staged > 0 && took > 0 {
		st.node.secondsPerToken.learn(took.Seconds() / float64(staged))
	}
	s.counters.tokens.Add(uint64(staged))
	s.end(st, result, staged, healthy)
}

// end ends a staging.
func (s *Service) end(st *Staging, r Result, tokens int, v verdict) {
	now := s.options.Now()
	s.mu.Lock()
	st.result, st.tokens, st.endedAt = r, tokens, now
	if s.ctx.Err() != nil {
		v = notAsked // Close has cut the call off
	}
	st.node.breaker.report(v, st.probe, now, s.options.Random())
	st.node.active--
	st.node.counts.Last = r
	st.node.counts.Tokens += uint64(tokens)
	if r.done() {
		st.node.counts.Done++
	}
	s.ended = append(s.ended, st)
	s.mu.Unlock()
	s.counters.add(r)
	close(st.done)
}

// movingAverage is 0 until it has learned a value.
type movingAverage struct{ bits atomic.Uint64 }

func (f *movingAverage) load() float64 { return math.Float64frombits(f.bits.Load()) }

// learn moves the average towards v. Of two calls at the same time one may be lost.
func (f *movingAverage) learn(v float64) {
	if old := f.load(); old > 0 {
		v = old + newestShare*(v-old)
	}
	f.bits.Store(math.Float64bits(v))
}
