// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"context"
	"slices"
	"time"
)

const (
	// maxAnswers bounds the answers that are remembered, maxHoldings the upstreams of
	// one answer, and maxAllHoldings the upstreams of all answers: 1 MiB.
	maxAnswers     = 4096
	maxHoldings    = 64
	maxAllHoldings = 32768
	// maxLookups bounds the lookups under way, maxWaitingLookups those that wait.
	// Further ones are not made.
	maxLookups        = 4
	maxWaitingLookups = 256
	// LMCache must hash all tokens of a prompt for a lookup, so there are at most
	// lookRate a second, and lookBurst after a pause.
	lookRate  = 50
	lookBurst = 100
)

// lookups holds LMCache's answers about prefixes, under the Service's lock.
type lookups struct {
	breaker     breaker
	bucket      bucket
	running     int
	waiting     int                      // lookups whose delay is not over
	tokens      int                      // of those
	answers     map[uint64]*lookupAnswer // by the key of the prefix
	oldestFirst []uint64                 // the same keys, each once
	numHoldings int                      // in all answers
}

type lookupAnswer struct {
	holdings []Holding
	at       time.Time // zero: none yet
	pending  bool
}

func newLookups() lookups { return lookups{answers: make(map[uint64]*lookupAnswer)} }

// LastLookup returns an upstream's holding of a prefix, by the last answer. known is
// false if that is too old, or does not cover the upstream.
func (s *Service) LastLookup(prefix uint64, upstream string) (h Holding, known bool) {
	now := s.options.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.lookups.answers[prefix]
	if a == nil || a.at.IsZero() || now.Sub(a.at) >= s.options.LookupTTL {
		return Holding{}, false
	}
	for i := range a.holdings {
		if a.holdings[i].Upstream == upstream {
			return a.holdings[i], true
		}
	}
	return Holding{}, false
}

// StartLookup looks up some upstreams' holdings of a prefix, in the background.
// LastLookup returns them. The result is Submitted, or the reason why no lookup is
// made. release is called exactly once, when p.Tokens are not read any more.
func (s *Service) StartLookup(p Prefix, upstreams []string, release func()) Result {
	upstreams = slices.Clone(upstreams)
	result, probe := s.admitLookup(&p), false
	if result == Submitted && s.options.LookupDelay == 0 {
		if result, probe = s.beginLookup(&p); result != Submitted {
			s.running.Done()
		}
	}
	if result != Submitted {
		s.counters.lookups[result].Add(1)
		release()
		return result
	}
	go func() {
		defer s.running.Done()
		if result := s.delayLookup(&p, &probe); result != Submitted {
			s.counters.lookups[result].Add(1)
			release()
			return
		}
		s.lookup(&p, upstreams, probe, release)
	}()
	return Submitted
}

// admitLookup decides whether a lookup may be made later. Submitted: yes, and running
// counts it.
func (s *Service) admitLookup(p *Prefix) Result {
	if !s.options.Client.CanLookup() {
		return Unsupported
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(p.Tokens) == 0:
		return Noop
	case s.closed || s.lookups.waiting >= maxWaitingLookups || s.lookups.tokens+len(p.Tokens) > s.options.MaxLookupTokens:
		return Limited
	}
	s.lookups.waiting++
	s.lookups.tokens += len(p.Tokens)
	s.running.Add(1) // under the lock, as in begin
	return Submitted
}

// delayLookup begins a lookup after the delay. Without a delay it has begun already.
func (s *Service) delayLookup(p *Prefix, probe *bool) (r Result) {
	if s.options.LookupDelay == 0 {
		return Submitted
	}
	timer := time.NewTimer(s.options.LookupDelay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.ctx.Done():
	}
	r, *probe = s.beginLookup(p)
	return r
}

// beginLookup decides whether a lookup is made now. Submitted: yes.
func (s *Service) beginLookup(p *Prefix) (r Result, probe bool) {
	now := s.options.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &s.lookups
	l.waiting--
	l.tokens -= len(p.Tokens)
	a := l.answers[p.Key]
	switch {
	case a != nil && (a.pending || now.Sub(a.at) < s.options.LookupTTL):
		return Deduplicated, false
	case s.closed || l.running >= maxLookups:
		return Limited, false
	case !l.breaker.closed(now):
		return Broken, false
	case !l.bucket.take(now, lookRate, lookBurst):
		return Limited, false
	}
	probe = l.breaker.enter()
	l.running++
	if a == nil {
		a = l.add(p.Key)
	}
	a.pending = true
	return Submitted, probe
}

// add makes room for an answer. The answer to the oldest lookup is dropped, also if
// that is still under way.
func (l *lookups) add(prefix uint64) *lookupAnswer {
	if len(l.oldestFirst) >= maxAnswers {
		l.dropOldest()
	}
	a := &lookupAnswer{}
	l.answers[prefix] = a
	l.oldestFirst = append(l.oldestFirst, prefix)
	return a
}

func (l *lookups) dropOldest() {
	l.numHoldings -= len(l.answers[l.oldestFirst[0]].holdings)
	delete(l.answers, l.oldestFirst[0])
	l.oldestFirst = l.oldestFirst[1:]
}

// remember notes an answer.
func (l *lookups) remember(a *lookupAnswer, holdings []Holding, now time.Time) {
	holdings = slices.Clip(holdings[:min(len(holdings), maxHoldings)])
	l.numHoldings += len(holdings) - len(a.holdings)
	a.holdings, a.at = holdings, now
	for l.numHoldings > maxAllHoldings && len(l.oldestFirst) > 1 {
		l.dropOldest()
	}
}

// lookup asks LMCache and remembers the answer.
func (s *Service) lookup(p *Prefix, upstreams []string, probe bool, release func()) {
	ctx, cancel := context.WithTimeout(s.ctx, s.options.SubmitTimeout)
	defer cancel()
	holdings, err := s.options.Client.Lookup(ctx, p, upstreams)
	release()
	now := s.options.Now()
	result, v := Completed, verdictOf(err)
	if err != nil {
		result, holdings = resultOf(err), nil
	}
	if s.ctx.Err() != nil {
		v = notAsked
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &s.lookups
	l.running--
	l.breaker.report(v, probe, now, s.options.Random())
	s.counters.lookups[result].Add(1)
	if a := l.answers[p.Key]; a != nil {
		a.pending = false
		if err == nil {
			l.remember(a, holdings, now)
		}
	}
}
