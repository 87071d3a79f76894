// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"context"
	"slices"
	"time"
)

const (
	// maxAnswers is how many answers are remembered.
	maxAnswers = 4096
	// maxHoldings is how many upstreams of an answer are.
	maxHoldings = 64
	// maxLooking is how many lookups are under way at the same time; a further
	// one is not made.
	maxLooking = 4
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
	answers map[uint64]*answer
	order   []uint64 // oldest first, each once
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
	return Holding{Upstream: upstream}, true
}

// Ask looks up which of some upstreams hold a prefix, in the background, for
// Known to tell. It reports what came of it so far: Submitted when somebody is
// asked now. release is called exactly once, when p.Tokens are not read any
// more.
func (s *Service) Ask(p Prefix, upstreams []string, release func()) Result {
	result, probe := s.beginAsk(&p)
	if result != Submitted {
		s.counted.looked[result].Add(1)
		release()
		return result
	}
	upstreams = slices.Clone(upstreams)
	go func() {
		defer s.running.Done()
		s.look(&p, upstreams, probe, release)
	}()
	return Submitted
}

// beginAsk decides whether somebody is asked; Submitted: yes.
func (s *Service) beginAsk(p *Prefix) (r Result, probe bool) {
	if _, look := s.options.Client.Can(); !look {
		return Unsupported, false
	}
	now := s.options.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &s.lookups
	a := l.answers[p.Key]
	switch {
	case len(p.Tokens) == 0:
		return Noop, false
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
	s.running.Add(1) // under the lock, as in begin
	return Submitted, probe
}

// add makes room for an answer. The oldest one may be under way: then its
// answer will not be remembered.
func (l *lookups) add(prefix uint64) *answer {
	if len(l.order) >= maxAnswers {
		delete(l.answers, l.order[0])
		l.order = l.order[1:]
	}
	a := &answer{}
	l.answers[prefix] = a
	l.order = append(l.order, prefix)
	return a
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
			a.holdings, a.at = holdings[:min(len(holdings), maxHoldings)], now
		}
	}
}
