// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/lmcache"
)

// readyClient is an LMCache that has staged what it is asked for at once.
type readyClient struct{}

func (c *readyClient) Submit(_ context.Context, _ string, p *lmcache.Prefix) (lmcache.Job, error) {
	return lmcache.Job{ID: "j", Chunks: len(p.Tokens) / 256, ChunkTokens: 256}, nil
}

func (c *readyClient) Poll(context.Context, string, lmcache.Job) (lmcache.Progress, error) {
	return lmcache.Progress{Done: true, Found: 1, Total: 1}, nil
}

func (c *readyClient) Lookup(context.Context, *lmcache.Prefix, []string) ([]lmcache.Holding, error) {
	return nil, lmcache.ErrUnsupported
}

func (c *readyClient) CanLookup() bool { return false }
func (c *readyClient) Close()          {}

// TestUseOfStagings: whether a staging was in vain is decided by what the request
// found cached that it was for: its own, or the next turn of its conversation; or
// by nobody, when none has come for a while.
func TestUseOfStagings(t *testing.T) {
	const staged = 4096
	const keep = 2 * time.Minute
	for _, c := range []struct {
		name     string
		next     func(e *task) // what comes of the request
		own      bool          // it was for the request itself, not for its next turn
		at, then uint64        // wasted right after, and when its time is over
	}{
		{name: "found", next: func(e *task) { e.Reported("a:1", staged) }},
		{name: "found but for the end, which is always computed", next: func(e *task) { e.Reported("a:1", staged-leastStaged+1) }},
		{name: "a chunk is missing", next: func(e *task) { e.Reported("a:1", staged-leastStaged) }, at: 1, then: 1},
		{name: "nothing found", next: func(e *task) { e.Reported("a:1", 0) }, at: 1, then: 1},
		{name: "elsewhere", next: func(e *task) { e.Reported("b:1", staged) }, at: 1, then: 1},
		{name: "not told", next: func(e *task) { e.Unreported("a:1") }},
		{name: "not told, elsewhere", next: func(e *task) { e.Unreported("b:1") }, at: 1, then: 1},
		{name: "no next turn", next: func(*task) {}, then: 1},
		{name: "its own, found", own: true, next: func(e *task) { e.Reported("a:1", staged) }},
		{name: "its own, not found", own: true, next: func(e *task) { e.Reported("a:1", 0) }, then: 1}, // others may want the same
		{name: "its own, failed over", own: true, next: func(e *task) { e.Reported("b:1", staged) }, then: 1},
		{name: "its own, refused", own: true, next: func(*task) {}, then: 1},
		{name: "twice", next: func(e *task) { e.Reported("a:1", 0); e.Reported("a:1", staged) }, at: 1, then: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &stager{service: lmcache.NewService(lmcache.Options{Client: &readyClient{}}), turns: newTurns(time.Now)}
				defer s.service.Close()
				tokens := s.shelf.keep(make([]uint32, staged))
				st := s.order("a:1", lmcache.Prefix{Model: "m", Tokens: tokens.ids, Key: 7}, tokens)
				<-st.Done()
				tokens.release()
				e := &task{stager: s}
				if c.own {
					e.staging, e.at = st, "a:1"
				} else {
					s.turns.expect(1, "a:1").staged(st)
					if e.before = s.turns.arrived(slices.Values([]uint64{1})); e.before == nil {
						t.Fatal("the next turn is not known")
					}
				}
				c.next(e)
				if n := s.service.Counts().Wasted; n != c.at {
					t.Errorf("%d are wasted right after, want %d", n, c.at)
				}
				time.Sleep(keep)
				if n := s.service.Counts().Wasted; n != c.then {
					t.Errorf("%d are wasted when their time is over, want %d", n, c.then)
				}
				if n := s.shelf.kept.Load(); n != 0 {
					t.Errorf("%d tokens are kept", n)
				}
			})
		})
	}
}

// TestStagedOnce: what is on its way for one request is not ordered by another that
// begins in the same way, which waits for it if it is held.
func TestStagedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stager{service: lmcache.NewService(lmcache.Options{Client: &readyClient{}}), turns: newTurns(time.Now), totals: NewTotals()}
		defer s.service.Close()
		one, two := &task{stager: s}, &task{stager: s}
		if one.want("a:1", 7, time.Time{}) {
			t.Fatal("it is under way before there are tokens")
		}
		one.Await()(make([]uint32, 4096))
		if one.staging == nil || !two.want("a:1", 7, time.Time{}) || two.staging != one.staging || two.at != "a:1" {
			t.Fatalf("the second one has %p, the first %p", two.staging, one.staging)
		}
		two.hold(t.Context(), time.Second)
		if r, tokens := two.staging.Result(); r != lmcache.Completed || tokens != 4096 {
			t.Errorf("%v with %d tokens after the wait", r, tokens)
		}
		if two.want("b:1", 7, time.Time{}) || two.want("a:1", 8, time.Time{}) {
			t.Error("what nobody has ordered is under way")
		}
		for _, e := range []*task{one, two} {
			e.End(true)
		}
		synctest.Wait()
		if n := s.shelf.kept.Load(); n != 0 {
			t.Errorf("%d tokens are kept", n)
		}
		if c := s.service.Counts(); c.Results[lmcache.Submitted] != 1 || c.Results[lmcache.Deduplicated] != 1 {
			t.Errorf("counts %+v", c)
		}
	})
}
