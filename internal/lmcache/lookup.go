// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"context"
	"slices"
	"time"
)

const (
	// maxAnswers is how many answers are remembered, maxHoldings how many
	// upstreams of an answer are, and maxHeld how many of all of them: 1 MiB.
	maxAnswers  = 4096
	maxHoldings = 64
	maxHeld     = 32768
	// maxLooking is how many lookups are under way at the same time, and
	// maxToLook how many wait until they are; a further one is not made.
	maxLooking = 4
	maxToLook  = 256
	// A lookup has all tokens of a prompt sent and hashed: there are at most
	// lookRate a second, after a pause lookBurst.
	lookRate  = 50
	lookBurst = 100
)

// lookups is what is known of who holds which prefix. Caller holds the
// Service's lock.
type lookups struct {
	breaker breaker
	bucket  bucket
	looking int
	waiting int // until they are made
	tokens  int // of those
	answers map[uint64]*answer
	order   []uint64 // oldest first, each once
	held    int      // holdings in all answers
}

type answer struct {
	holdings []Holding
	at       time.Time // zero: none yet
	asking   bool
}

func newLookups() lookups { return lookups{answers: make(map[uint64]*answer)} }

// Known returns what the last answer about a prefix, if it is fresh, says that
// an upstream holds. It asks nobody.
func (s *Service) Known(prefix uint64, upstream string) (h Holding, known bool) {
	now := s.options.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.lookups.answers[prefix]
	if a == nil || a.at.IsZero() || now.Sub(a.at) >= s.options.AnswerFor {
		return Holding{}, false
	}
	for i := range a.holdings {
		if a.holdings[i].Upstream == upstream {
			return a.holdings[i], true
		}
	}
	return Holding{}, false // it was not asked about, or nothing is known of it
}

// Ask looks up what some upstreams hold of a prefix, in the background, for
// Known to tell. It reports what came of it so far: Submitted when somebody is
// to be asked. release is called exactly once, when p.Tokens are not read any
// more.
func (s *Service) Ask(p Prefix, upstreams []string, release func()) Result {
	upstreams = slices.Clone(upstreams)
	result, probe := s.admitAsk(&p), false
	if result == Submitted && s.options.AskAfter == 0 {
		if result, probe = s.beginAsk(&p); result != Submitted {
			s.running.Done()
		}
	}
	if result != Submitted {
		s.counted.looked[result].Add(1)
		release()
		return result
	}
	go func() {
		defer s.running.Done()
		if result := s.awaitAsk(&p, &probe); result != Submitted {
			s.counted.looked[result].Add(1)
			release()
			return
		}
		s.look(&p, upstreams, probe, release)
	}()
	return Submitted
}

// admitAsk decides whether somebody may be asked at all; Submitted: yes, and
// running counts it.
func (s *Service) admitAsk(p *Prefix) Result {
	if !s.options.Client.CanLookup() {
		return Unsupported
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(p.Tokens) == 0:
		return Noop
	case s.closed || s.lookups.waiting >= maxToLook || s.lookups.tokens+len(p.Tokens) > s.options.AskTokens:
		return Limited
	}
	s.lookups.waiting++
	s.lookups.tokens += len(p.Tokens)
	s.running.Add(1) // under the lock, as in begin
	return Submitted
}

// awaitAsk begins a lookup when its time has come, if it has not begun.
func (s *Service) awaitAsk(p *Prefix, probe *bool) (r Result) {
	if s.options.AskAfter == 0 {
		return Submitted
	}
	timer := time.NewTimer(s.options.AskAfter)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.ctx.Done():
	}
	r, *probe = s.beginAsk(p)
	return r
}

// beginAsk decides whether somebody is asked now; Submitted: yes.
func (s *Service) beginAsk(p *Prefix) (r Result, probe bool) {
	now := s.options.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &s.lookups
	l.waiting--
	l.tokens -= len(p.Tokens)
	a := l.answers[p.Key]
	switch {
	case a != nil && (a.asking || now.Sub(a.at) < s.options.AnswerFor):
		return Deduplicated, false
	case s.closed || l.looking >= maxLooking:
		return Limited, false
	case !l.breaker.closed(now):
		return Broken, false
	case !l.bucket.take(now, lookRate, lookBurst):
		return Limited, false
	}
	probe = l.breaker.enter()
	l.looking++
	if a == nil {
		a = l.add(p.Key)
	}
	a.asking = true
	return Submitted, probe
}

// add makes room for an answer. The oldest one may be under way: then its
// answer will not be remembered.
func (l *lookups) add(prefix uint64) *answer {
	if len(l.order) >= maxAnswers {
		l.dropOldest()
	}
	a := &answer{}
	l.answers[prefix] = a
	l.order = append(l.order, prefix)
	return a
}

func (l *lookups) dropOldest() {
	l.held -= len(l.answers[l.order[0]].holdings)
	delete(l.answers, l.order[0])
	l.order = l.order[1:]
}

// answered remembers an answer.
func (l *lookups) answered(a *answer, holdings []Holding, now time.Time) {
	holdings = slices.Clip(holdings[:min(len(holdings), maxHoldings)])
	l.held += len(holdings) - len(a.holdings)
	a.holdings, a.at = holdings, now
	for l.held > maxHeld && len(l.order) > 1 {
		l.dropOldest()
	}
}

// look asks and remembers the answer.
func (s *Service) look(p *Prefix, upstreams []string, probe bool, release func()) {
	ctx, cancel := context.WithTimeout(s.ctx, s.options.SubmitFor)
	defer cancel()
	holdings, err := s.options.Client.Lookup(ctx, p, upstreams)
	release()
	now := s.options.Now()
	result, v := Completed, verdictOf(err)
	if err != nil {
		result, holdings = resultOf(err), nil
	}
	if s.ctx.Err() != nil {
		v = silent
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &s.lookups
	l.looking--
	l.breaker.report(v, probe, now, s.options.Random())
	s.counted.looked[result].Add(1)
	if a := l.answers[p.Key]; a != nil {
		a.asking = false
		if err == nil {
			l.answered(a, holdings, now)
		}
	}
}
