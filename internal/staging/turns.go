// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"context"
	"sync"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/lmcache"
)

const (
	// maxTurns is how many conversations are remembered whose next turn is
	// awaited, and turnFor for how long: a tool that runs for longer is an
	// exception.
	maxTurns = 4096
	turnFor  = 2 * time.Minute

	// gapShare is how much one gap changes the average.
	gapShare = 0.2
)

// turn is a conversation whose last answer asked the client to run tools: its
// next turn is expected soon.
type turn struct {
	address string // where it was
	at      time.Time
	ctx     context.Context // done when the next turn has come
	come    context.CancelFunc

	mu      sync.Mutex
	staging *lmcache.Staging // nil: none
}

// staged notes what was ordered for the next turn.
func (t *turn) staged(st *lmcache.Staging) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.staging = st
}

// used says how much of its prompt the next turn found cached, at an upstream. What
// was staged for it at another one, or not found, was in vain.
func (t *turn) used(address string, cached int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.staging != nil && !(t.address == address && useOf(t.staging, cached)) {
		t.staging.Waste()
	}
}

// useOf counts a staging as used when the engine has found as many tokens in a
// cache as were staged; the last ones of a prompt are always computed.
func useOf(st *lmcache.Staging, cached int) bool {
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

// turns are the conversations whose next turn is expected, by the hash of the
// end of what was asked: the next turn has the same text up to there.
type turns struct {
	now func() time.Time

	mu    sync.Mutex
	byEnd map[uint64]*turn
	order []uint64 // oldest first
	gap   time.Duration
}

func newTurns(now func() time.Time) *turns {
	return &turns{now: now, byEnd: make(map[uint64]*turn)}
}

// expect notes that a next turn is expected.
func (s *turns) expect(end uint64, address string) *turn {
	t := &turn{address: address, at: s.now()}
	t.ctx, t.come = context.WithCancel(context.Background())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(t.at)
	if old := s.byEnd[end]; old != nil {
		old.come() // the same was asked twice
	} else {
		s.order = append(s.order, end)
	}
	s.byEnd[end] = t
	return t
}

// drop forgets the oldest ones that take too long, or are too many. The caller
// holds mu.
func (s *turns) drop(now time.Time) {
	n := 0
	for n < len(s.order) {
		t := s.byEnd[s.order[n]]
		if t != nil && len(s.order)-n < maxTurns && now.Sub(t.at) < turnFor {
			break
		}
		if t != nil {
			t.come()
		}
		delete(s.byEnd, s.order[n])
		n++
	}
	s.order = append(s.order[:0], s.order[n:]...)
}

// arrived returns the turn that a request is the next one of, by the ends of
// its messages; nil when none was expected.
func (s *turns) arrived(ends func(yield func(hash uint64) bool)) (found *turn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.byEnd) == 0 {
		return nil
	}
	for end := range ends {
		if t := s.byEnd[end]; t != nil {
			found = t // the last one
		}
	}
	if found == nil || found.ctx.Err() != nil {
		return found
	}
	found.come()
	if took := s.now().Sub(found.at); s.gap == 0 {
		s.gap = took
	} else {
		s.gap += time.Duration(gapShare * float64(took-s.gap))
	}
	return found
}

// usualGap returns how long it takes on average from an answer that ends in
// tool calls to the next turn; 0: not known.
func (s *turns) usualGap() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gap
}

// close ends all waiting.
func (s *turns) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.byEnd {
		t.come()
	}
	clear(s.byEnd)
	s.order = nil
}
