// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/lmcache"
)

const (
	// maxNextTurns bounds the turns that are expected at the same time.
	maxNextTurns = 4096
	// turnTimeout ends the wait for a turn; few tools run for longer.
	turnTimeout = 2 * time.Minute
	// gapShare is the weight of the latest gap in the average.
	gapShare = 0.2
)

// nextTurn is the expected next turn of a conversation whose last answer asked the
// client to run tools.
type nextTurn struct {
	upstream string // of the last answer
	since    time.Time
	ctx      context.Context // done when the turn has arrived, or is not expected any more
	cancel   context.CancelFunc

	mu      sync.Mutex
	staging *lmcache.Staging // nil: none
}

// staged notes the staging that was ordered for the turn.
func (t *nextTurn) staged(st *lmcache.Staging) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.staging = st
}

// used notes the tokens that the turn found cached at an upstream. A staging at
// another one, or one that was not found, is wasted.
func (t *nextTurn) used(upstream string, cached int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.staging != nil && !(t.upstream == upstream && markUsed(t.staging, cached)) {
		t.staging.Waste()
	}
}

// markUsed counts a staging as used when the engine has found the staged tokens
// cached, and reports whether it has. The last chunk may be missing: engines always
// compute the end of a prompt.
func markUsed(st *lmcache.Staging, cached int) bool {
	if st == nil {
		return false
	}
	_, tokens := st.Result()
	if tokens == 0 || cached+leastStaged <= tokens {
		return false
	}
	st.Use()
	return true
}

// nextTurns are the expected turns, by the key of the whole prompt before them: a
// next turn begins with it.
type nextTurns struct {
	now func() time.Time

	mu          sync.Mutex
	byPrompt    map[uint64]*nextTurn
	oldestFirst []uint64
	gap         time.Duration // average time to the next turn; 0: not known
}

func newNextTurns(now func() time.Time) *nextTurns {
	return &nextTurns{now: now, byPrompt: make(map[uint64]*nextTurn)}
}

// expect adds the turn that comes after a prompt.
func (s *nextTurns) expect(prompt uint64, upstream string) *nextTurn {
	t := &nextTurn{upstream: upstream, since: s.now()}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropOld(t.since)
	if old := s.byPrompt[prompt]; old != nil {
		old.cancel() // the same prompt was sent twice
	} else {
		s.oldestFirst = append(s.oldestFirst, prompt)
	}
	s.byPrompt[prompt] = t
	return t
}

// dropOld drops turns that take too long, and the oldest when there are too many.
// The caller holds mu.
func (s *nextTurns) dropOld(now time.Time) {
	n := 0
	for n < len(s.oldestFirst) {
		t := s.byPrompt[s.oldestFirst[n]]
		if len(s.oldestFirst)-n < maxNextTurns && now.Sub(t.since) < turnTimeout {
			break
		}
		t.cancel()
		delete(s.byPrompt, s.oldestFirst[n])
		n++
	}
	s.oldestFirst = append(s.oldestFirst[:0], s.oldestFirst[n:]...)
}

// arrived finds a request among the expected turns, by the keys of its prompt up to
// the end of each message. It returns nil when the request was not expected.
func (s *nextTurns) arrived(prompts iter.Seq[uint64]) (found *nextTurn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.byPrompt) == 0 {
		return nil
	}
	for prompt := range prompts {
		if t := s.byPrompt[prompt]; t != nil {
			found = t // the last one
		}
	}
	if found == nil || found.ctx.Err() != nil {
		return found
	}
	found.cancel()
	if took := s.now().Sub(found.since); s.gap == 0 {
		s.gap = took
	} else {
		s.gap += time.Duration(gapShare * float64(took-s.gap))
	}
	return found
}

// usualGap returns the average time from an answer that ends in tool calls to the
// next turn; 0: not known.
func (s *nextTurns) usualGap() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gap
}

// close ends all waiting.
func (s *nextTurns) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.byPrompt {
		t.cancel()
	}
	clear(s.byPrompt)
	s.oldestFirst = nil
}
