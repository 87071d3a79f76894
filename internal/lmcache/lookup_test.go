// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestCannotLookup(t *testing.T) {
	s, end := newService(t, &fakeClient{}, nil)
	defer end()
	released := 0
	if r := s.StartLookup(Prefix{Tokens: count(1)}, nil, func() { released++ }); r != Unsupported || released != 1 {
		t.Errorf("%v, released %d times", r, released)
	}
}

func TestLookups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failing atomic.Bool
		f := &fakeClient{lookup: func(ctx context.Context, p *Prefix) ([]Holding, error) {
			time.Sleep(10 * time.Millisecond)
			if failing.Load() {
				return nil, ErrTimeout
			}
			return []Holding{{"a", 256, 512, true}, {"b", 0, 0, false}}, nil
		}}
		s, end := newService(t, f, nil)
		defer end()
		var released atomic.Int32
		ask := func(key uint64) Result {
			return s.StartLookup(Prefix{Model: "m", Tokens: count(600), Key: key}, []string{"a", "b"}, func() { released.Add(1) })
		}
		if _, known := s.LastLookup(1, "a"); known {
			t.Error("known before the lookup")
		}
		if ask(1) != Submitted || ask(1) != Deduplicated {
			t.Error("two lookups at the same time")
		}
		if _, known := s.LastLookup(1, "a"); known {
			t.Error("known before the answer")
		}
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		if ask(1) != Deduplicated || released.Load() != 3 {
			t.Errorf("released %d times", released.Load())
		}
		for upstream, want := range map[string]Holding{"a": {"a", 256, 512, true}, "b": {"b", 0, 0, false}} {
			if got, known := s.LastLookup(1, upstream); !known || got != want {
				t.Errorf("%s: %+v, %v", upstream, got, known)
			}
		}
		if got, known := s.LastLookup(1, "c"); known {
			t.Errorf("c was not looked up, and holds %+v", got)
		}
		time.Sleep(s.options.LookupTTL)
		if _, known := s.LastLookup(1, "a"); known {
			t.Error("an old answer still counts")
		}
		failing.Store(true)
		for range maxFailures {
			if r := ask(1); r != Submitted {
				t.Errorf("%v after an old answer", r)
			}
			time.Sleep(20 * time.Millisecond)
		}
		if _, known := s.LastLookup(1, "a"); known {
			t.Error("a failure counts as an answer")
		}
		if ask(1) != Broken {
			t.Error("not paused after failures")
		}
		time.Sleep(pauseFirst)
		failing.Store(false)
		if ask(1) != Submitted {
			t.Error("still paused after the pause")
		}
		time.Sleep(20 * time.Millisecond)
		for key := range uint64(2 * maxLookups) {
			want := Submitted
			if key >= maxLookups {
				want = Limited
			}
			if r := ask(100 + key); r != want {
				t.Errorf("lookup %d at the same time: %v", key, r)
			}
		}
		time.Sleep(20 * time.Millisecond)
		if c := s.Counts(); c.Lookups[Completed] != 2+maxLookups || c.Lookups[TimedOut] != maxFailures || c.Results[Completed] != 0 {
			t.Errorf("counts %+v", c)
		}
	})
}

// TestLookupsWait: lookups are made after the delay.
func TestLookupsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeClient{lookup: func(context.Context, *Prefix) ([]Holding, error) { return []Holding{{"a", 0, 512, false}}, nil }}
		s, end := newService(t, f, func(o *Options) { o.LookupDelay, o.LookupTTL = 2*time.Second, time.Minute })
		ended := false
		defer func() {
			if !ended {
				end()
			}
		}()
		var released atomic.Int32
		ask := func(key uint64) Result {
			return s.StartLookup(Prefix{Model: "m", Tokens: count(600), Key: key}, []string{"a"}, func() { released.Add(1) })
		}
		looked := func() int {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.looked
		}
		for range 2 { // only the first one is made
			if r := ask(1); r != Submitted {
				t.Error(r)
			}
		}
		time.Sleep(2*time.Second - time.Millisecond)
		if looked() != 0 || released.Load() != 0 {
			t.Errorf("%d lookups before the delay, %d released", looked(), released.Load())
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if h, known := s.LastLookup(1, "a"); looked() != 1 || released.Load() != 2 || !known || h.Storage != 512 {
			t.Errorf("%d lookups, %d released: %+v, %v", looked(), released.Load(), h, known)
		}
		for key := range uint64(maxWaitingLookups) {
			if r := ask(10 + key); r != Submitted {
				t.Fatalf("lookup %d that waits: %v", key, r)
			}
		}
		if r := ask(5000); r != Limited {
			t.Errorf("one too many: %v", r)
		}
		ended = true
		end()
		if looked() != 1 || released.Load() != 2+maxWaitingLookups+1 || s.lookups.waiting != 0 {
			t.Errorf("after Close %d lookups, %d released, %d wait", looked(), released.Load(), s.lookups.waiting)
		}
		if c := s.Counts(); c.Lookups[Completed] != 1 || c.Lookups[Deduplicated] != 1 || c.Lookups[Limited] != 1+maxWaitingLookups {
			t.Errorf("counts %+v", c)
		}
	})
}

// TestLookupsThatWaitAreBounded: the tokens of lookups that wait are bounded.
func TestLookupsThatWaitAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeClient{lookup: func(context.Context, *Prefix) ([]Holding, error) { return nil, nil }}
		s, end := newService(t, f, func(o *Options) { o.LookupDelay, o.MaxLookupTokens = time.Second, 1000 })
		defer end()
		var released atomic.Int32
		ask := func(key uint64, tokens int) Result {
			return s.StartLookup(Prefix{Model: "m", Tokens: count(tokens), Key: key}, []string{"a"}, func() { released.Add(1) })
		}
		if r := ask(1, 1001); r != Limited {
			t.Errorf("more tokens than allowed: %v", r)
		}
		if ask(2, 600) != Submitted || ask(3, 400) != Submitted || ask(4, 1) != Limited {
			t.Error("not as many tokens as allowed")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := released.Load(); n != 4 || s.lookups.tokens != 0 {
			t.Errorf("%d of 4 were released, %d tokens are counted", n, s.lookups.tokens)
		}
		if r := ask(5, 1000); r != Submitted {
			t.Errorf("after the others were made: %v", r)
		}
	})
}

func TestHoldingsAreBounded(t *testing.T) {
	l := newLookups()
	many := make([]Holding, 2*maxHoldings)
	for key := range uint64(2 * maxAllHoldings / maxHoldings) {
		l.remember(l.add(key), many, time.Unix(1, 0))
	}
	held := 0
	for _, a := range l.answers {
		held += len(a.holdings)
	}
	last := l.answers[2*maxAllHoldings/maxHoldings-1]
	if held != l.numHoldings || held > maxAllHoldings || held < maxAllHoldings/2 || last == nil || len(last.holdings) != maxHoldings || len(l.oldestFirst) != len(l.answers) {
		t.Errorf("%d holdings in %d answers, counted %d", held, len(l.answers), l.numHoldings)
	}
	l.remember(last, nil, time.Unix(2, 0)) // asked again
	if l.numHoldings != held-maxHoldings {
		t.Errorf("%d holdings are counted after one answer of %d was replaced", l.numHoldings, held)
	}
}

func TestAnswersAreBounded(t *testing.T) {
	l := newLookups()
	for key := range uint64(3 * maxAnswers) {
		l.add(key)
	}
	if len(l.answers) != maxAnswers || len(l.oldestFirst) != maxAnswers || l.answers[3*maxAnswers-1] == nil {
		t.Errorf("%d answers in %d", len(l.answers), len(l.oldestFirst))
	}
}

func BenchmarkKnown(b *testing.B) {
	s := NewService(Options{Client: &fakeClient{}})
	defer s.Close()
	a := s.lookups.add(7)
	a.at, a.holdings = time.Now().Add(time.Hour), []Holding{{"a:8000", 1, 2, false}, {"b:8000", 3, 4, false}}
	b.ReportAllocs()
	for b.Loop() {
		if _, known := s.LastLookup(7, "b:8000"); !known {
			b.Fatal("not known")
		}
	}
}
