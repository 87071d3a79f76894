// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// ask routes a prompt of so many tokens, each of which takes startCost.
func (rt *Router) ask(s *Shedder, priority int32, tenant string, tokens int, candidates []Candidate) (*Request, Decision) {
	r := rt.NewRequest(Prompt{Chain: []uint64{rand.Uint64()}, Tokens: tokens, BlockTokens: 64, Stream: true})
	r.LimitWait(s, priority, tenant)
	return r, r.Route(candidates, false)
}

const perSecond = int(time.Second / startCost) // tokens

func TestRequestsThatWouldWaitTooLongAreRefused(t *testing.T) {
	rt, c := newTestRouter()
	s := NewShedder(time.Second)
	two := []Candidate{{Address: "one"}, {Address: "two"}}
	for i := range 2 {
		if _, d := rt.ask(s, 0, "", 3*perSecond, two); d.Pick != i {
			t.Fatalf("an idle engine refused: %+v", d)
		}
	}
	r, d := rt.ask(s, 0, "", 10, two)
	if d != (Decision{Pick: -1, Reason: Overload, RetryAfter: 2 * time.Second}) {
		t.Fatalf("%+v", d)
	}
	if forecasts, e := r.Explain(two); e != d || len(forecasts) != 2 {
		t.Fatalf("explained as %+v with %d forecasts", e, len(forecasts))
	}
	if got := rt.Upstreams(); got[0].Requests != 1 || got[1].Requests != 1 || r.attempt.upstream != nil {
		t.Fatalf("a refused request has a place: %+v", got)
	}
	r.Confirm() // calls that make no sense
	r.FirstToken()
	r.End()
	if d := r.Route(two, false); d.Reason != Overload {
		t.Fatalf("asked again: %+v", d)
	}
	if d := r.Route(nil, false); d != (Decision{Pick: -1, Reason: Fallback}) {
		t.Fatalf("no candidates: %+v", d)
	}
	unlimited := rt.newTestRequest("abc")
	if d := unlimited.Route(two, false); d.Pick < 0 {
		t.Fatalf("without a limit: %+v", d)
	}
	unlimited.End()
	c.add(2 * time.Second)
	if d := r.Route(two[:1], false); d.Pick != 0 {
		t.Fatalf("after the time it was told: %+v", d)
	}
}

// A request that was let in is not refused when its first engine fails.
func TestAFurtherAttemptIsNotRefused(t *testing.T) {
	rt, _ := newTestRouter()
	s := NewShedder(time.Second)
	r, _ := rt.ask(s, 0, "t", 10, a("one"))
	rt.ask(s, 0, "t", 5*perSecond, a("two"))
	if d := r.Route(a("two"), false); d.Pick != 0 {
		t.Fatalf("%+v", d)
	}
}

// No engine is asked for the tokens of a prompt that it will not get.
func TestRefusedPromptsNeedNoTokens(t *testing.T) {
	rt, _ := newTestRouter()
	rt.followRanks("one", 1)
	s := NewShedder(time.Second)
	r := rt.followedRequest("abc")
	r.LimitWait(s, 0, "")
	if !r.NeedsTokens(a("one")) {
		t.Fatal("a request that is not refused needs no tokens")
	}
	rt.ask(s, 0, "", 5*perSecond, a("one"))
	if r.NeedsTokens(a("one")) {
		t.Fatal("a refused request needs tokens")
	}
	if d := r.Route(a("one"), false); d.Reason != Overload {
		t.Fatalf("%+v", d)
	}
}

// A prompt that matches nothing is refused before another policy is asked.
func TestColdPromptsAreRefusedToo(t *testing.T) {
	rt, _ := newTestRouter()
	s := NewShedder(time.Second)
	rt.ask(s, 0, "", 5*perSecond, a("one"))
	r := rt.newTestRequest("abc")
	r.LimitWait(s, 0, "")
	if d := r.Route(a("one"), true); d.Reason != Overload {
		t.Fatalf("%+v", d)
	}
}

func TestShortestWait(t *testing.T) {
	const long, short, second = time.Hour, time.Minute, time.Second
	for _, c := range []struct {
		name string
		in   []scoredCandidate
		want time.Duration
	}{
		{"one", []scoredCandidate{{Wait: short, InFlight: 1}}, short},
		{"the shortest", []scoredCandidate{{Wait: long, InFlight: 1}, {Wait: short, InFlight: 1}}, short},
		// A prompt may be larger than a cache is taken to be, and no time makes its
		// wait shorter.
		{"an idle one takes any request", []scoredCandidate{{Wait: short, InFlight: 1}, {Wait: long}}, 0},
		{"an idle one that fails is not where it would go", []scoredCandidate{{Wait: second, InFlight: 1}, {Penalty: short}}, second},
		{"but rather than wait for long", []scoredCandidate{{Wait: long, InFlight: 1}, {Penalty: short}}, 0},
		{"all fail", []scoredCandidate{{Penalty: long}, {Penalty: long}}, 0},
		{"an overdue answer is a wait", []scoredCandidate{{InFlight: 1, Penalty: short, Overdue: short}}, short},
		{"beside another", []scoredCandidate{{InFlight: 1, Penalty: short, Overdue: short}, {Wait: second, InFlight: 1}}, second},
	} {
		if got := shortestWait(c.in); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestPrioritiesShareInSteps(t *testing.T) {
	s := NewShedder(12 * time.Second)
	now := epoch
	for _, c := range []struct {
		priority int32
		want     time.Duration
	}{
		{5, 12 * time.Second}, // alone
		{7, 6 * time.Second},
		{5, 12 * time.Second},
		{-1, 12 * time.Second},
		{5, 8 * time.Second},
		{7, 4 * time.Second},
		{9, 3 * time.Second},
		{11, 3 * time.Second}, // not below leastShare
	} {
		s.note(now, c.priority, "")
		if got := s.limit(now, c.priority, ""); got != c.want {
			t.Errorf("priority %d: limit %v, want %v", c.priority, got, c.want)
		}
	}
	for range 2 { // it counts for itself, and nothing is noted
		if got := s.limit(now, 6, ""); got != 8*time.Second {
			t.Errorf("a priority that only looks: limit %v", got)
		}
	}
	if got := s.limit(now.Add(recentTime), 11, ""); got != 12*time.Second {
		t.Errorf("alone again: limit %v", got)
	}
}

func TestTenantsWithMoreThanTheirFairShareWaitLess(t *testing.T) {
	s := NewShedder(12 * time.Second)
	limit := func(tenant string, want time.Duration) {
		t.Helper()
		s.note(epoch, 0, tenant)
		if got := s.limit(epoch, 0, tenant); got.Round(time.Millisecond) != want {
			t.Errorf("%s: limit %v, want %v", tenant, got, want)
		}
	}
	greedy := s.add("greedy", 6*time.Second)
	limit("greedy", 12*time.Second) // nobody else asked
	limit("small", 12*time.Second)
	limit("greedy", 6*time.Second) // all where one half is fair
	small := s.add("small", 2*time.Second)
	limit("small", 12*time.Second)
	limit("greedy", 8*time.Second) // three quarters where one half is fair
	for i := range 9 {
		s.note(epoch, 0, fmt.Sprint("tenant ", i))
	}
	limit("greedy", 3*time.Second) // not below leastShare
	limit("", 12*time.Second)
	greedy.remove(6 * time.Second)
	limit("greedy", 12*time.Second)
	small.remove(2 * time.Second)
	if len(s.work) != 0 || s.total != 0 {
		t.Errorf("left over: %v of %d tenants", s.total, len(s.work))
	}
}

// The work of tenants is the queued prefill of their requests, whatever happens to them,
// and nothing is left of it at the end.
func TestTenantWorkIsReleased(t *testing.T) {
	for seed := range seeds(20) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		rt, c := newTestRouter()
		s := NewShedder(time.Duration(1+rnd.IntN(20)) * time.Second)
		three := []Candidate{{Address: "one"}, {Address: "two"}, {Address: "three"}}
		var open []*Request
		for range 300 {
			c.add(time.Duration(rnd.IntN(400)) * time.Millisecond)
			switch i := rnd.IntN(max(1, len(open))); rnd.IntN(8) {
			default:
				r := rt.NewRequest(Prompt{Chain: []uint64{rnd.Uint64()}, Tokens: 1 + rnd.IntN(perSecond), BlockTokens: 64, Stream: rnd.IntN(3) > 0})
				r.LimitWait(s, int32(rnd.IntN(3)), []string{"", "a", "b", "c"}[rnd.IntN(4)])
				if d := r.Route(three, rnd.IntN(2) == 0); d.Reason == Fallback {
					r.Assign(three[0])
				}
				open = append(open, r)
			case 3, 4:
				if len(open) > 0 {
					open[i].Confirm()
					open[i].FirstToken()
				}
			case 5:
				if len(open) > 0 {
					open[i].Route(three[rnd.IntN(3):], false) // a further attempt, or asked again
				}
			case 6, 7:
				if len(open) > 0 {
					open[i].End()
					open[i] = open[len(open)-1]
					open = open[:len(open)-1]
				}
			}
			s.validate(t, rt)
		}
		for _, r := range open {
			r.End()
		}
		if s.validate(t, rt); s.total != 0 || len(s.work) != 0 {
			t.Fatalf("seed %d: left over: %v of %d tenants", seed, s.total, len(s.work))
		}
	}
}

// validate recounts the work of the tenants.
func (s *Shedder) validate(t *testing.T, rt *Router) {
	t.Helper()
	var total time.Duration
	queued := make(map[string]time.Duration)
	count := make(map[string]int)
	for _, u := range rt.upstreams {
		for r := u.queue.head; r != nil; r = r.next {
			if w := r.work; w != nil {
				total += r.cost
				queued[w.tenant] += r.cost
				count[w.tenant]++
			}
		}
	}
	if total != s.total || len(queued) != len(s.work) {
		t.Fatalf("%v of %d tenants, want %v of %d", s.total, len(s.work), total, len(queued))
	}
	for tenant, w := range s.work {
		if w.queued != queued[tenant] || w.reservations != count[tenant] || w.tenant != tenant {
			t.Fatalf("%q: %+v, want %v and %d", tenant, w, queued[tenant], count[tenant])
		}
	}
}
