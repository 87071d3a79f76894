// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/lmcache"
	"github.com/bauxite/caddy-kvaware/internal/prompt"
	"github.com/bauxite/caddy-kvaware/internal/routing"
)

// readyClient is an LMCache that has staged everything at once.
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

func (c *readyClient) ChunkTokens(context.Context, string) (int, error) { return 128, nil }

func (c *readyClient) CanLookup() bool { return false }
func (c *readyClient) Close()          {}

// TestWastedStagings: a staging is wasted if the request that it was for did not
// find it cached (its own request, or the conversation's next turn), or if no
// request has used it for a while.
func TestWastedStagings(t *testing.T) {
	const staged = 4096
	const keep = 2 * time.Minute
	for _, c := range []struct {
		name         string
		next         func(*task) // ends the request
		own          bool        // the staging is for the request itself, not for its next turn
		atOnce, then uint64      // stagings wasted right after, and when the time is over
	}{
		{name: "found", next: func(task *task) { task.Reported("a:1", staged) }},
		{name: "found but for the end, which is always computed", next: func(task *task) { task.Reported("a:1", staged-leastStaged+1) }},
		{name: "a chunk is missing", next: func(task *task) { task.Reported("a:1", staged-leastStaged) }, atOnce: 1, then: 1},
		{name: "nothing found", next: func(task *task) { task.Reported("a:1", 0) }, atOnce: 1, then: 1},
		{name: "elsewhere", next: func(task *task) { task.Reported("b:1", staged) }, atOnce: 1, then: 1},
		{name: "not reported", next: func(task *task) { task.Unreported("a:1") }},
		{name: "not reported, elsewhere", next: func(task *task) { task.Unreported("b:1") }, atOnce: 1, then: 1},
		{name: "no next turn", next: func(*task) {}, then: 1},
		{name: "its own, found", own: true, next: func(task *task) { task.Reported("a:1", staged) }},
		{name: "its own, not found", own: true, next: func(task *task) { task.Reported("a:1", 0) }, then: 1}, // another may want the same
		{name: "its own, failed over", own: true, next: func(task *task) { task.Reported("b:1", staged) }, then: 1},
		{name: "its own, refused", own: true, next: func(*task) {}, then: 1},
		{name: "twice", next: func(task *task) { task.Reported("a:1", 0); task.Reported("a:1", staged) }, atOnce: 1, then: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newTestStager()
				defer s.Close()
				tokens := s.tokens.keep(make([]uint32, staged))
				st := s.order("a:1", lmcache.Prefix{Model: "m", Tokens: tokens.ids, Key: 7}, tokens)
				<-st.Done()
				tokens.release()
				request := &task{stager: s}
				if c.own {
					request.staging, request.stagingAt = st, "a:1"
				} else {
					s.turns.expect(1, "a:1").staged(st)
					if request.expected = s.turns.arrived(slices.Values([]uint64{1})); request.expected == nil {
						t.Fatal("the next turn was not expected")
					}
				}
				c.next(request)
				if n := s.service.Counts().Wasted; n != c.atOnce {
					t.Errorf("%d are wasted right after, want %d", n, c.atOnce)
				}
				time.Sleep(keep)
				if n := s.service.Counts().Wasted; n != c.then {
					t.Errorf("%d are wasted when their time is over, want %d", n, c.then)
				}
				if n := s.tokens.kept.Load(); n != 0 {
					t.Errorf("%d tokens are kept", n)
				}
			})
		})
	}
}

func newTestStager() *stager {
	return New(Options{Client: &readyClient{}, Totals: NewTotals()}).(*stager)
}

// TestStagedOnce: two requests with the same beginning share one staging, and the
// second one can wait for it.
func TestStagedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestStager()
		defer s.Close()
		one, two := &task{stager: s}, &task{stager: s}
		order := stagingOrder{upstream: "a:1", key: 7}
		if one.stage(order) {
			t.Fatal("a staging is under way before there are tokens")
		}
		one.Await()(make([]uint32, 4096))
		if one.staging == nil || !two.stage(order) || two.staging != one.staging || two.stagingAt != "a:1" {
			t.Fatalf("the second request has staging %p, the first %p", two.staging, one.staging)
		}
		two.hold(t.Context(), time.Second)
		if r, tokens := two.staging.Result(); r != lmcache.Completed || tokens != 4096 {
			t.Errorf("%v with %d tokens after the wait", r, tokens)
		}
		if two.stage(stagingOrder{upstream: "b:1", key: 7}) || two.stage(stagingOrder{upstream: "a:1", key: 8}) {
			t.Error("another node or prompt has the same staging")
		}
		for _, request := range []*task{one, two} {
			request.End(true)
		}
		synctest.Wait()
		if n := s.tokens.kept.Load(); n != 0 {
			t.Errorf("%d tokens are kept", n)
		}
		if c := s.service.Counts(); c.Results[lmcache.Submitted] != 1 || c.Results[lmcache.Deduplicated] != 1 {
			t.Errorf("counts %+v", c)
		}
	})
}

// fakeRequest is a request whose tokens arrive at once.
type fakeRequest struct {
	prompt   Prompt
	routing  *routing.Request
	fetched  []string // "upstream attempt"
	retained int      // not released
}

func (r *fakeRequest) Prompt() Prompt            { return r.prompt }
func (r *fakeRequest) Routing() *routing.Request { return r.routing }
func (r *fakeRequest) Retain() (Retained, bool) {
	r.retained++
	return r, true
}

func (r *fakeRequest) API() prompt.API { return prompt.Chat }
func (r *fakeRequest) Body() []byte    { return []byte(`{}`) }
func (r *fakeRequest) Salt() string    { return "" }
func (r *fakeRequest) Release()        { r.retained-- }
func (r *fakeRequest) Fetch(upstream string, attempt int, use func([]uint32)) bool {
	r.fetched = append(r.fetched, fmt.Sprint(upstream, " ", attempt))
	use(make([]uint32, 4096))
	r.Release()
	return true
}

// TestSend: a prompt is staged after a failover and not on an idle engine, and its
// next turn is staged ahead.
func TestSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		router := routing.New(1_000_000, time.Now)
		chain := make([]uint64, 64)
		for i := range chain {
			chain[i] = uint64(i + 1)
		}
		newRequest := func(upstream string) *fakeRequest {
			r := &fakeRequest{prompt: Prompt{Model: "m", Chain: chain, Ends: []uint64{99}, Tools: true}}
			r.routing = router.NewRequest(routing.Prompt{Chain: chain, Tokens: 4096, BlockTokens: 64})
			r.routing.Route([]routing.Candidate{{Address: upstream}}, false)
			return r
		}
		s := newTestStager()
		defer s.Close()
		inPool := func(string) bool { return true }

		first := newRequest("a:1")
		request := s.Begin(first)
		if request.Send(t.Context(), Attempt{Upstream: "a:1", InPool: inPool}) || len(first.fetched) != 0 {
			t.Errorf("a new prompt on an idle engine: tokens fetched from %v", first.fetched)
		}
		first.routing.Confirm()
		request.Accepted()
		request.End(true)
		first.routing.End()

		second := newRequest("b:1")
		request = s.Begin(second)
		if !request.Send(t.Context(), Attempt{Upstream: "b:1", Failed: 1, InPool: inPool}) || !slices.Equal(second.fetched, []string{"b:1 1"}) {
			t.Errorf("after a failover: tokens fetched from %v", second.fetched)
		}
		second.routing.Confirm()
		request.Accepted()
		request.ExpectNext("b:1")
		request.End(true)
		second.routing.End()
		synctest.Wait()
		if c, _ := s.service.NodeCounts("b:1"); c.Orders != 1 {
			t.Errorf("%d orders to the upstream that took over, want 1: the request and its next turn share one", c.Orders)
		}
		if first.retained != 0 || second.retained != 0 || s.tokens.kept.Load() != 0 {
			t.Errorf("%d and %d requests and %d tokens are kept", first.retained, second.retained, s.tokens.kept.Load())
		}
		if third := s.Begin(newRequest("b:1")).(*task); third.expected == nil {
			t.Error("the next turn was not expected")
		}
	})
}

// slowClient is an LMCache that needs some time for each staging.
type slowClient struct {
	readyClient
	takes time.Duration
	since time.Time // the last order
}

func (c *slowClient) Submit(ctx context.Context, upstream string, p *lmcache.Prefix) (lmcache.Job, error) {
	c.since = time.Now()
	return c.readyClient.Submit(ctx, upstream, p)
}

func (c *slowClient) Poll(ctx context.Context, upstream string, j lmcache.Job) (lmcache.Progress, error) {
	if time.Since(c.since) < c.takes {
		return lmcache.Progress{}, nil
	}
	return c.readyClient.Poll(ctx, upstream, j)
}

// TestHeldUntilStaged: a returning prompt that its engine's GPU has lost is held until
// its blocks are staged, and no longer than computing them would take. When LMCache has
// shown to need longer than that, the next one is not held.
func TestHeldUntilStaged(t *testing.T) {
	const computing = 4096 * 125 * time.Microsecond // as the router assumes at first
	for takes, next := range map[time.Duration]bool{100 * time.Millisecond: true, time.Second: false} {
		synctest.Test(t, func(t *testing.T) {
			router := routing.New(1_000_000, time.Now)
			c := &slowClient{takes: takes}
			s := New(Options{Client: c, Wait: time.Minute, Totals: NewTotals()}).(*stager)
			defer s.Close()
			send := func(first uint64) (held time.Duration) {
				chain := make([]uint64, 64)
				for i := range chain {
					chain[i] = first + uint64(i)
				}
				r := &fakeRequest{prompt: Prompt{Model: "m", Chain: chain, Ends: []uint64{first}}}
				r.routing = router.NewRequest(routing.Prompt{Chain: chain, Tokens: 4096, BlockTokens: 64, OffloadWeights: &routing.DefaultTierWeights})
				r.routing.Route([]routing.Candidate{{Address: "a:1"}}, false)
				task := s.Begin(r)
				began := time.Now()
				task.Send(t.Context(), Attempt{Upstream: "a:1", InPool: func(string) bool { return true }})
				held = time.Since(began)
				r.routing.Confirm()
				task.Accepted()
				task.End(true)
				r.routing.End()
				return held
			}
			for _, first := range []uint64{1, 1000} {
				if held := send(first); held != 0 {
					t.Errorf("a new prompt was held for %v", held)
				}
			}
			router.CacheLost("a:1")
			if held := send(1); held < min(takes, computing-time.Millisecond) || held > min(takes+200*time.Millisecond, computing) {
				t.Errorf("held for %v, and the staging takes %v", held, takes)
			}
			time.Sleep(2 * time.Second) // the staging ends
			router.CacheLost("a:1")
			if held := send(1000); held > 0 != next {
				t.Errorf("the next one was held for %v, and a staging takes %v", held, takes)
			}
		})
	}
}

// TestNop: the stager that does nothing leaves candidates as they are.
func TestNop(t *testing.T) {
	defer Nop.Close()
	candidates := []routing.Candidate{{Address: "a:1"}}
	if offloads, known := Nop.Consult(&Prompt{}, candidates, make([]routing.Offload, 1)); known || len(offloads) != 0 {
		t.Errorf("offloads %v, known %v", offloads, known)
	}
	task := Nop.Begin(nil)
	task.Consult(candidates)
	if task.Send(t.Context(), Attempt{}) || candidates[0].Offload != nil {
		t.Error("something is staged")
	}
	task.Await()([]uint32{1})
	task.Accepted()
	task.Reported("a:1", 1)
	task.Unreported("a:1")
	task.ExpectNext("a:1")
	task.End(true)
}
