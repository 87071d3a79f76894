// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// fakeClient is an LMCache with a script, for synctest bubbles.
type fakeClient struct {
	mu        sync.Mutex
	submit    func(ctx context.Context, upstream string, p *Prefix) (Job, error)
	poll      func(ctx context.Context, polls int) (Progress, error)
	lookup    func(ctx context.Context, p *Prefix) ([]Holding, error)
	submitted []string
	polls     map[string]int // by upstream and job
	looked    int
	atOnce    int
	most      int
	closed    bool
}

func (f *fakeClient) Submit(ctx context.Context, upstream string, p *Prefix) (Job, error) {
	f.mu.Lock()
	f.submitted = append(f.submitted, fmt.Sprintf("%s/%d", upstream, p.Key))
	f.atOnce++
	f.most = max(f.most, f.atOnce)
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.atOnce--
		f.mu.Unlock()
	}()
	if f.submit != nil {
		return f.submit(ctx, upstream, p)
	}
	return Job{ID: "j", Chunks: 4, ChunkTokens: 256}, nil
}

func (f *fakeClient) Poll(ctx context.Context, upstream string, j Job) (Progress, error) {
	f.mu.Lock()
	f.polls[upstream]++
	n := f.polls[upstream]
	f.mu.Unlock()
	if f.poll != nil {
		return f.poll(ctx, n)
	}
	return Progress{Done: true, Found: 4, Total: 4}, nil
}

func (f *fakeClient) Lookup(ctx context.Context, p *Prefix, _ []string) ([]Holding, error) {
	f.mu.Lock()
	f.looked++
	f.mu.Unlock()
	return f.lookup(ctx, p)
}

func (f *fakeClient) ChunkTokens(context.Context, string) (int, error) { return 256, nil }

func (f *fakeClient) CanLookup() bool { return f.lookup != nil }
func (f *fakeClient) Close()          { f.closed = true }

// hang returns when the caller has given up.
func hang(ctx context.Context) error {
	<-ctx.Done()
	return ErrTimeout
}

// newService returns a Service, and a function that closes it and checks that nothing
// is left.
func newService(t *testing.T, f *fakeClient, change func(*Options)) (*Service, func()) {
	t.Helper()
	f.polls = make(map[string]int)
	o := Options{Client: f, Random: func() float64 { return 0.5 }, Rate: 1000, Burst: 1000}
	if change != nil {
		change(&o)
	}
	s := NewService(o)
	return s, func() {
		s.Close()
		if !f.closed {
			t.Error("the client was not closed")
		}
		if s.queued != 0 || s.queuedTokens != 0 {
			t.Errorf("%d are queued with %d tokens at the end", s.queued, s.queuedTokens)
		}
		for _, n := range s.nodes {
			if n.active != 0 || len(n.slots) != 0 || n.breaker.probing {
				t.Errorf("a node was left as %+v", n)
			}
		}
		if len(s.sendSlots) != 0 {
			t.Error("something is still being sent")
		}
	}
}

// stage stages a prefix, and counts how often its tokens are released.
func stage(s *Service, upstream string, key uint64, tokens int) (st *Staging, released func() int) {
	var mu sync.Mutex
	n := 0
	st = s.Stage(upstream, Prefix{Model: "m", Tokens: count(tokens), Key: key}, func() {
		mu.Lock()
		n++
		mu.Unlock()
	})
	return st, func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

func expectResult(t *testing.T, st *Staging, want Result, tokens int) {
	t.Helper()
	<-st.Done()
	if r, n := st.Result(); r != want || n != tokens {
		t.Errorf("%v with %d tokens, want %v with %d", r, n, want, tokens)
	}
}

func TestStage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeClient{poll: func(_ context.Context, n int) (Progress, error) {
			return Progress{Done: n%3 == 0, Found: 4, Total: 4}, nil
		}}
		s, end := newService(t, f, nil)
		defer end()
		st, released := stage(s, "a", 1, 1100)
		synctest.Wait()
		if released() != 1 {
			t.Errorf("released %d times after the order was sent", released())
		}
		if r, _ := st.Result(); r != Submitted {
			t.Errorf("%v while it is under way", r)
		}
		again, released2 := stage(s, "a", 1, 1100)
		if again != st || released2() != 1 || s.Current("a", 1) != st {
			t.Error("the same prefix is staged twice at the same time")
		}
		if s.Current("a", 2) != nil || s.Current("b", 1) != nil {
			t.Error("a staging that was never ordered is under way")
		}
		other, _ := stage(s, "b", 1, 1100) // another node's
		expectResult(t, st, Completed, 1024)
		expectResult(t, other, Completed, 1024)
		again, _ = stage(s, "a", 1, 1100)
		if again != st {
			t.Error("staged again right after")
		}
		if s.Current("a", 1) != st {
			t.Error("a staging that has just ended is not current")
		}
		time.Sleep(s.options.RestageAfter)
		if again, _ = stage(s, "a", 1, 1100); again == st {
			t.Error("not staged again after a while")
		}
		<-again.Done()
		// 5, 8 and 12.8 ms after the order.
		if got, want := s.ExpectedTime("a", 1024), 25800*time.Microsecond; got < want-1000 || got > want+1000 {
			t.Errorf("expected to take %v, took %v", got, want)
		}
		if s.ExpectedTime("nobody", 1024) != 0 {
			t.Error("a node that was never asked has an expected time")
		}
		c := s.Counts()
		if c.Results[Submitted] != 3 || c.Results[Completed] != 3 || c.Results[Deduplicated] != 4 || c.Tokens != 3*1024 {
			t.Errorf("counts %+v", c)
		}
	})
}

// TestLate: a staging whose deadline passes while it waits is not begun. It says
// nothing about the node's health.
func TestLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeClient{submit: func(context.Context, string, *Prefix) (Job, error) {
			time.Sleep(time.Second)
			return Job{ID: "j", Chunks: 4, ChunkTokens: 256}, nil
		}}
		s, end := newService(t, f, func(o *Options) { o.MaxPerNode = 1 })
		defer end()
		released := 0
		until := func(key uint64, d time.Duration) *Staging {
			return s.Stage("a", Prefix{Model: "m", Tokens: count(1100), Key: key, Deadline: time.Now().Add(d)}, func() { released++ })
		}
		expectResult(t, until(1, -1), Late, 0)
		first := until(2, time.Minute)
		synctest.Wait()
		second := until(3, 500*time.Millisecond)
		synctest.Wait() // so that it waits before the third one
		third := until(4, time.Minute)
		expectResult(t, first, Completed, 1024)
		expectResult(t, second, Late, 0)
		expectResult(t, third, Completed, 1024)
		synctest.Wait()
		if released != 4 || len(f.submitted) != 2 {
			t.Errorf("%d of 4 released, %v submitted", released, f.submitted)
		}
		n, known := s.NodeCounts("a")
		if !known || n.Orders != 3 || n.Done != 2 || n.Tokens != 2048 || n.Resting || n.Last == Submitted {
			t.Errorf("the node has %+v", n)
		}
		if _, known := s.NodeCounts("nobody"); known {
			t.Error("a node that was never asked is known")
		}
	})
}

// TestEnds: each way in which a staging ends has its own result, and the tokens are
// released exactly once.
func TestEnds(t *testing.T) {
	job := Job{ID: "j", Chunks: 4, ChunkTokens: 256}
	for _, c := range []struct {
		name     string
		job      Job
		err      error
		p        Progress
		pollErr  error
		expected int // 0: all 1000 tokens
		want     Result
		tokens   int
	}{
		{name: "completed", job: job, p: Progress{true, 8, 8}, want: Completed, tokens: 1000}, // not more than there are
		{name: "partial", job: job, p: Progress{true, 2, 8}, want: Partial, tokens: 256},
		{name: "all that was expected", job: job, p: Progress{true, 6, 8}, expected: 800, want: Completed, tokens: 768},
		{name: "less than expected", job: job, p: Progress{true, 6, 8}, expected: 900, want: Partial, tokens: 768},
		{name: "nothing found", job: job, p: Progress{true, 0, 0}, want: Partial},
		{name: "noop", want: Noop},
		{name: "huge", job: Job{ID: "j", Chunks: 1 << 40, ChunkTokens: 1 << 20}, p: Progress{true, 1 << 60, 1 << 60}, want: Completed, tokens: 1000},
		{name: "no layout", err: ErrNoLayout, want: NoLayout},
		{name: "refused", err: ErrRefused, want: Refused},
		{name: "garbage", err: ErrAnswer, want: Refused},
		{name: "not there", err: ErrNotFound, want: Failed},
		{name: "5xx", err: ErrServer, want: Failed},
		{name: "unreachable", err: ErrUnreachable, want: Failed},
		{name: "timeout", err: ErrTimeout, want: TimedOut},
		{name: "unmapped", err: ErrUnmapped, want: Unmapped},
		{name: "unsupported", err: ErrUnsupported, want: Unsupported},
		{name: "lost", job: job, pollErr: ErrNotFound, want: Lost},
		{name: "poll fails", job: job, pollErr: ErrServer, want: Failed},
		{name: "poll lies", job: job, pollErr: ErrAnswer, want: Refused},
		{name: "forever", job: job, want: TimedOut},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, end := newService(t, &fakeClient{
					submit: func(context.Context, string, *Prefix) (Job, error) { return c.job, c.err },
					poll:   func(context.Context, int) (Progress, error) { return c.p, c.pollErr },
				}, nil)
				defer end()
				released := 0
				st := s.Stage("a", Prefix{Model: "m", Tokens: count(1000), Key: 1, Expected: c.expected}, func() { released++ })
				expectResult(t, st, c.want, c.tokens)
				if released != 1 {
					t.Errorf("released %d times", released)
				}
				if n := s.Counts().Results[c.want]; n != 1 {
					t.Errorf("counted %d times", n)
				}
			})
		})
	}
}

// TestHangingNode: a node that hangs blocks no caller, is left alone after a few
// failures, and is used again when it answers.
func TestHangingNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var answers atomic.Bool
		f := &fakeClient{submit: func(ctx context.Context, _ string, _ *Prefix) (Job, error) {
			if !answers.Load() {
				return Job{}, hang(ctx)
			}
			return Job{}, nil
		}}
		s, end := newService(t, f, func(o *Options) { o.MaxPerNode = maxFailures })
		defer end()
		before := time.Now()
		for key := range uint64(maxFailures) {
			st, _ := stage(s, "a", key, 10)
			if time.Since(before) != 0 {
				t.Fatal("Stage blocks")
			}
			defer expectResult(t, st, TimedOut, 0)
		}
		time.Sleep(s.options.SubmitTimeout)
		synctest.Wait()
		st, released := stage(s, "a", 100, 10)
		expectResult(t, st, Broken, 0)
		if released() != 1 {
			t.Error("not released")
		}
		ok, _ := stage(s, "b", 100, 10)
		time.Sleep(s.options.SubmitTimeout)
		expectResult(t, ok, TimedOut, 0) // another node has a breaker of its own

		time.Sleep(pauseFirst)
		answers.Store(true)
		probe, _ := stage(s, "a", 101, 10)
		second, _ := stage(s, "a", 102, 10)
		expectResult(t, second, Broken, 0)
		expectResult(t, probe, Noop, 0)
		st, _ = stage(s, "a", 103, 10)
		expectResult(t, st, Noop, 0)
		if len(f.submitted) != maxFailures+3 {
			t.Errorf("asked %v", f.submitted)
		}
	})
}

// TestNoLayoutPausesOneModel: a node without a layout of one model is still asked for
// others.
func TestNoLayoutPausesOneModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeClient{submit: func(_ context.Context, _ string, p *Prefix) (Job, error) {
			if p.Model == "starting" {
				return Job{}, ErrNoLayout
			}
			return Job{}, nil
		}}
		s, end := newService(t, f, nil)
		defer end()
		of := func(model string, key uint64) *Staging {
			st := s.Stage("a", Prefix{Model: model, Tokens: count(10), Key: key}, func() {})
			<-st.Done()
			return st
		}
		for key := range uint64(10) {
			expectResult(t, of("starting", key), NoLayout, 0)
			expectResult(t, of("m", 100+key), Noop, 0)
		}
		if len(f.submitted) != 11 {
			t.Errorf("asked %v", f.submitted)
		}
		time.Sleep(layoutPause)
		expectResult(t, of("starting", 50), NoLayout, 0)
		if len(f.submitted) != 12 {
			t.Error("not asked again after the pause")
		}
	})
}

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeClient{submit: func(ctx context.Context, _ string, _ *Prefix) (Job, error) {
			select {
			case <-time.After(100 * time.Millisecond):
				return Job{}, nil
			case <-ctx.Done():
				return Job{}, ErrTimeout
			}
		}}
		s, end := newService(t, f, func(o *Options) {
			o.MaxPerNode, o.MaxSending, o.MaxQueued, o.MaxQueuedTokens, o.QueueTimeout = 2, 3, 20, 1000, 250*time.Millisecond
		})
		defer end()
		results := func(list []*Staging) map[Result]int {
			m := map[Result]int{}
			for _, st := range list {
				<-st.Done()
				r, _ := st.Result()
				m[r]++
			}
			return m
		}
		var list []*Staging
		for key := range uint64(30) { // one node: two at a time, 100 ms each, wait 250 ms
			st, _ := stage(s, "a", key, 10)
			list = append(list, st)
		}
		if got := results(list); got[Noop] != 6 || got[Limited] != 24 {
			t.Errorf("one node: %v", got)
		}
		if f.most != 2 {
			t.Errorf("%d at once, want 2", f.most)
		}
		f.most, list = 0, nil
		for key := range uint64(12) { // six nodes: three at a time
			st, _ := stage(s, fmt.Sprint("n", key%6), 1000+key, 10)
			list = append(list, st)
		}
		if got := results(list); got[Noop] != 12 {
			t.Errorf("many nodes: %v", got)
		}
		if f.most != 3 {
			t.Errorf("%d at once, want 3", f.most)
		}
		list = nil
		for key := range uint64(3) { // too many tokens together
			st, _ := stage(s, "z", 2000+key, 400)
			list = append(list, st)
		}
		if got := results(list); got[Noop] != 2 || got[Limited] != 1 {
			t.Errorf("many tokens: %v", got)
		}
	})
}

func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, end := newService(t, &fakeClient{}, func(o *Options) { o.Rate, o.Burst = 10, 5 })
		defer end()
		began, before := 0, time.Now()
		for key := range uint64(30) {
			time.Sleep(100 * time.Millisecond)
			for twice := range uint64(3) {
				st, _ := stage(s, "a", key*10+twice, 300)
				<-st.Done()
				if r, _ := st.Result(); r == Completed {
					began++
				}
			}
		}
		if most := 5 + int(time.Since(before).Seconds()*10); began < 30 || began > most {
			t.Errorf("%d stagings, at most %d", began, most)
		}
	})
}

func TestWasted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeClient{}
		s, end := newService(t, f, nil)
		defer end()
		used, _ := stage(s, "a", 1, 1100)
		wasted, _ := stage(s, "a", 2, 600)
		<-used.Done()
		<-wasted.Done()
		used.Use()
		empty, _ := stage(s, "a", 3, 0) // never begun: cannot be wasted
		<-empty.Done()
		time.Sleep(s.options.WastedAfter - time.Millisecond)
		if c := s.Counts(); c.Wasted != 0 {
			t.Error("wasted before its time")
		}
		time.Sleep(time.Millisecond)
		if c := s.Counts(); c.Wasted != 1 {
			t.Errorf("counts %+v", c)
		}
		wasted.Use()   // too late
		wasted.Waste() // once is enough
		if c := s.Counts(); c.Wasted != 1 || len(s.stagings) != 0 || len(s.ended) != 0 {
			t.Errorf("counts %+v, %d stagings kept", c, len(s.stagings))
		}
	})
}

// TestWastedAtOnce: Waste counts a staging at once, and once.
func TestWastedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeClient{poll: func(_ context.Context, n int) (Progress, error) {
			return Progress{Done: n > 1, Found: 4, Total: 4}, nil
		}}
		s, end := newService(t, f, nil)
		defer end()
		wasted := func(want uint64) {
			t.Helper()
			if c := s.Counts(); c.Wasted != want {
				t.Errorf("%d are wasted, want %d", c.Wasted, want)
			}
		}
		st, _ := stage(s, "a", 1, 1100)
		st.Waste() // before it has ended
		wasted(0)
		<-st.Done()
		st.Waste()
		st.Waste()
		wasted(1)
		used, _ := stage(s, "b", 1, 1100)
		<-used.Done()
		used.Use()
		used.Waste() // another request has used it
		empty, _ := stage(s, "a", 2, 0)
		empty.Waste()
		time.Sleep(s.options.WastedAfter)
		wasted(1)
	})
}

// TestEndedAreBounded: the number of ended stagings that are remembered is bounded.
func TestEndedAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, end := newService(t, &fakeClient{submit: func(context.Context, string, *Prefix) (Job, error) { return Job{}, nil }}, func(o *Options) { o.Rate, o.Burst = 1e9, 1e9 })
		defer end()
		for key := range uint64(maxEnded + 100) {
			st, _ := stage(s, "a", key, 1)
			<-st.Done()
		}
		stage(s, "a", 1<<40, 1)
		synctest.Wait()
		if len(s.ended) > maxEnded+1 || len(s.stagings) > maxEnded+1 {
			t.Errorf("%d ended, %d by key", len(s.ended), len(s.stagings))
		}
	})
}

func TestNodesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, end := newService(t, &fakeClient{}, func(o *Options) {
			o.Client.(*fakeClient).submit = func(context.Context, string, *Prefix) (Job, error) { return Job{}, nil }
		})
		defer end()
		for i := range maxNodeAccounts {
			st, _ := stage(s, fmt.Sprint(i), 1, 1)
			<-st.Done()
		}
		st, _ := stage(s, "one more", 1, 1)
		expectResult(t, st, Limited, 0)
		time.Sleep(nodeIdle + 1)
		st, _ = stage(s, "one more", 2, 1)
		expectResult(t, st, Noop, 0)
		if len(s.nodes) != 1 {
			t.Errorf("%d nodes are kept", len(s.nodes))
		}
	})
}

// TestClose: Close ends a call that hangs, at once.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, end := newService(t, &fakeClient{submit: func(ctx context.Context, _ string, _ *Prefix) (Job, error) { return Job{}, hang(ctx) }}, nil)
		st, released := stage(s, "a", 1, 10)
		synctest.Wait()
		before := time.Now()
		end()
		<-st.Done()
		if released() != 1 || time.Since(before) != 0 {
			t.Errorf("released %d times after %v", released(), time.Since(before))
		}
		late, released := stage(s, "a", 2, 10)
		expectResult(t, late, Limited, 0)
		if released() != 1 {
			t.Error("not released after the end")
		}
	})
}

// TestManyAtOnce is for the race detector.
func TestManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeClient{lookup: func(context.Context, *Prefix) ([]Holding, error) { return nil, nil }}
		s, end := newService(t, f, nil)
		defer end()
		var group sync.WaitGroup
		for w := range 8 {
			group.Go(func() {
				for i := range uint64(50) {
					st, _ := stage(s, fmt.Sprint("n", i%3), i%10, 700)
					s.StartLookup(Prefix{Tokens: count(3), Key: i % 10}, []string{"n0"}, func() {})
					s.LastLookup(i%10, "n0")
					s.ExpectedTime("n0", 100)
					if w%2 == 0 {
						<-st.Done()
						st.Use()
					}
					s.Counts()
				}
			})
		}
		group.Wait()
	})
}
