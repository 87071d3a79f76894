// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"context"
	"math"
	"sync/atomic"
	"time"
)

const (
	// A staging is polled after pollFirst, then less and less often, down to
	// every pollMost.
	pollFirst = 5 * time.Millisecond
	pollMost  = 100 * time.Millisecond
	// pollFor is how long LMCache may take to answer a poll.
	pollFor = time.Second

	// paceShare is how much the latest staging changes what is expected of the
	// next one.
	newestShare = 0.3
)

// Staging is one order to LMCache, which several requests may share.
type Staging struct {
	service *Service
	node    *node
	key     stagingKey
	probe   bool // what the node's breaker let through
	used    atomic.Bool
	done    chan struct{} // closed at the end; what follows is set before

	result  Result
	tokens  int       // in DRAM now, by what LMCache says
	endedAt time.Time // when it ended
}

// endedStaging is one that was never begun.
func endedStaging(s *Service, r Result) *Staging {
	st := &Staging{service: s, result: r, done: make(chan struct{})}
	close(st.done)
	return st
}

// Done returns a channel that is closed when the staging has ended.
func (st *Staging) Done() <-chan struct{} { return st.done }

// Result returns how it ended, and how many tokens of the prefix are in CPU
// memory now if LMCache tells the truth; Submitted while it is under way.
func (st *Staging) Result() (Result, int) {
	select {
	case <-st.done:
		return st.result, st.tokens
	default:
		return Submitted, 0
	}
}

// Wait waits for the end, but not longer than d, nor than ctx. It reports
// whether the staging has ended.
func (st *Staging) Wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-st.done: // nothing to wait for
		return true
	default:
	}
	if d <= 0 {
		return false
	}
	t := &st.service.counters
	start := st.service.options.Now()
	timer := time.NewTimer(d)
	defer timer.Stop()
	ended := false
	select {
	case <-st.done:
		ended = true
		t.waitsInTime.Add(1)
	case <-timer.C:
	case <-ctx.Done():
	}
	t.waits.Add(1)
	t.waitedNanos.Add(uint64(max(st.service.options.Now().Sub(start), 0)))
	return ended
}

// Use says that a request has had use of it: its engine took tokens of the
// prefix from a cache. A staging that nobody uses is counted as wasted.
func (st *Staging) Use() { st.used.Store(true) }

// Waste says that who it was for has had no use of it. It is counted as wasted at
// once, and not only when nobody has used it for a while, unless somebody has
// before, or nothing was staged.
func (st *Staging) Waste() {
	if _, tokens := st.Result(); tokens > 0 {
		st.service.waste(st)
	}
}

// waste counts a staging that has ended as wasted, if it was not used nor counted
// before.
func (s *Service) waste(st *Staging) {
	if st.tokens > 0 && !st.used.Swap(true) {
		s.counters.wasted.Add(1)
		s.counters.wastedTokens.Add(uint64(st.tokens))
	}
}

// standsFor reports whether the staging is under way, or so fresh that there
// is no need for another one.
func (st *Staging) isCurrent(now time.Time, again time.Duration) bool {
	select {
	case <-st.done:
		return (st.result == Completed || st.result == Partial || st.result == Noop) && now.Sub(st.endedAt) < again
	default:
		return true
	}
}

// run does a staging from its turn to its end.
func (s *Service) run(st *Staging, p *Prefix, release func()) {
	turn := s.acquireSlot(st.node)
	s.mu.Lock()
	s.queued--
	s.queuedTokens -= len(p.Tokens)
	s.mu.Unlock()
	if !turn {
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
	s.pollUntilDone(st, job, tokens)
}

// turn waits until the node has time, and reports whether it had.
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

// follow polls until LMCache is done, because it forgets a job only when it
// has told of its end.
func (s *Service) pollUntilDone(st *Staging, job Job, tokens int) {
	ctx, cancel := context.WithTimeout(s.ctx, s.options.StageTimeout)
	defer cancel()
	start := s.options.Now()
	for pause := pollFirst; ; pause = min(pause*8/5, pollMost) {
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
			s.staged(st, job, progress, tokens, s.options.Now().Sub(start))
		default:
			continue
		}
		return
	}
}

func (s *Service) poll(ctx context.Context, upstream string, job Job) (Progress, error) {
	ctx, cancel := context.WithTimeout(ctx, pollFor)
	defer cancel()
	return s.options.Client.Poll(ctx, upstream, job)
}

// staged ends a staging that LMCache calls completed.
func (s *Service) staged(st *Staging, job Job, p Progress, tokens int, took time.Duration) {
	result := Completed
	if p.Found < p.Total || p.Total == 0 {
		result = Partial
	}
	staged := 0
	if p.Total > 0 {
		share := float64(p.Found) / float64(p.Total)
		staged = min(int(share*float64(job.Chunks)*float64(max(job.ChunkTokens, 1))), tokens)
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
		v = notAsked // we have given up ourselves
	}
	st.node.breaker.report(v, st.probe, now, s.options.Random())
	st.node.active--
	st.node.counts.Last = r
	st.node.counts.Tokens += uint64(tokens)
	if r == Completed || r == Partial || r == Noop {
		st.node.counts.Done++
	}
	s.ended = append(s.ended, st)
	s.mu.Unlock()
	s.counters.add(r)
	close(st.done)
}

// atomicFloat is a moving average. The zero value has seen nothing.
type movingAverage struct{ bits atomic.Uint64 }

func (f *movingAverage) load() float64 { return math.Float64frombits(f.bits.Load()) }

// learn moves the average towards v. Of two at the same time one may be lost.
func (f *movingAverage) learn(v float64) {
	if old := f.load(); old > 0 {
		v = old + newestShare*(v-old)
	}
	f.bits.Store(math.Float64bits(v))
}
