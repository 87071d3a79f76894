// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// server computes one prompt after the other, at a true cost with noise.
type server struct {
	perToken time.Duration
	noise    float64
	free     time.Time
}

func (s *server) finish(now time.Time, tokens int, rnd *rand.Rand) time.Time {
	if now.After(s.free) {
		s.free = now
	}
	factor := math.Exp(rnd.NormFloat64()*s.noise - s.noise*s.noise/2)
	s.free = s.free.Add(time.Duration(float64(tokens) * float64(s.perToken) * factor))
	return s.free
}

// feed sends n prompts to a router's only upstream, in bursts, so that most of
// them queue, and returns the cost it has learned.
func feed(rt *Router, c *clock, s *server, address string, n int, rnd *rand.Rand) time.Duration {
	for range n {
		var burst []*Request
		var first []time.Time
		for range 1 + rnd.IntN(4) {
			r := rt.NewRequest(Prompt{Chain: []uint64{rnd.Uint64()}, Tokens: 100 + rnd.IntN(4000), BlockTokens: 64, Stream: true})
			r.Route(a(address), false)
			burst, first = append(burst, r), append(first, s.finish(c.t, r.Tokens(), rnd))
		}
		for i, r := range burst {
			c.t = first[i]
			r.Confirm()
			r.FirstToken()
			r.End()
		}
		c.add(time.Duration(rnd.IntN(1000)) * time.Millisecond)
	}
	for _, u := range rt.Upstreams() {
		if u.Address == address {
			return u.PerToken
		}
	}
	return 0
}

func TestCostIsLearnedWhateverTheQueue(t *testing.T) {
	for _, want := range []time.Duration{20 * time.Microsecond, 125 * time.Microsecond, time.Millisecond} {
		rt, c := newTestRouter()
		got := feed(rt, c, &server{perToken: want}, "n", 200, rand.New(rand.NewPCG(1, 1)))
		if ratio := float64(got) / float64(want); ratio < 0.97 || ratio > 1.03 {
			t.Errorf("learned %v a token, want %v", got, want)
		}
	}
}

func TestSlowUpstreamsAreDistinguishedFromNoise(t *testing.T) {
	for seed := range seeds(10) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		rt, c := newTestRouter()
		same := []*server{{perToken: startCost, noise: 0.3}, {perToken: startCost, noise: 0.3}, {perToken: startCost, noise: 0.3}}
		slow := &server{perToken: 3 * startCost, noise: 0.3}
		costs := map[string]time.Duration{}
		for range 20 {
			for i, s := range append(same, slow) {
				name := string(rune('a' + i))
				costs[name] = feed(rt, c, s, name, 10, rnd)
			}
		}
		if costs["d"] < 2*startCost {
			t.Errorf("seed %d: %v a token where it is %v", seed, costs["d"], slow.perToken)
		}
		if spread := float64(costs["a"]) / float64(costs["b"]); spread < 0.85 || spread > 1.18 {
			t.Errorf("seed %d: equal upstreams look unequal: %v", seed, costs)
		}
	}
}

func TestEqualUpstreamsCountAsEqual(t *testing.T) {
	differ := 0
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		var c cost
		for range 300 {
			tokens := 100 + rnd.IntN(10000)
			c.learn(prefillSample{tokens: tokens, took: time.Duration(float64(tokens) * float64(startCost) * math.Exp(rnd.NormFloat64()*0.3-0.045))}, startCost)
		}
		if got := c.shrunkPerToken(startCost); math.Abs(float64(got-startCost)) > 0.02*float64(startCost) {
			differ++
		}
	}
	if differ > 3 { // three standard errors: one in four hundred
		t.Errorf("%d of 100 upstreams that cost the same got another cost", differ)
	}
}

func TestCostIsBoundedAndRobust(t *testing.T) {
	var c cost
	for range 1000 {
		c.learn(prefillSample{tokens: 1000, took: 100 * time.Millisecond}, startCost)
	}
	before := c.perToken(startCost)
	c.learn(prefillSample{tokens: 1000, took: time.Hour}, startCost)
	if after := c.perToken(startCost); after > before*11/10 {
		t.Errorf("one lost answer raised the cost from %v to %v", before, after)
	}
	for range 5000 {
		c.learn(prefillSample{tokens: 1, took: time.Hour}, startCost)
	}
	if got := c.perToken(startCost); got > highestCost {
		t.Errorf("%v a token", got)
	}
	for range 5000 {
		c.learn(prefillSample{tokens: 1 << 30, took: 1}, startCost)
	}
	if got := c.perToken(startCost); got != lowestCost {
		t.Errorf("%v a token", got)
	}
	for _, s := range []prefillSample{{tokens: 0, took: time.Second}, {tokens: -5, took: time.Second}, {tokens: 5}, {tokens: 5, took: -time.Second}} {
		was := c
		if c.learn(s, startCost); c != was {
			t.Errorf("%+v taught something", s)
		}
	}
}

func TestLatePrefillsCountByTheirDeviation(t *testing.T) {
	for _, sigma := range []float64{0, 0.1, 0.3} {
		rnd := rand.New(rand.NewPCG(4, 4))
		var c cost
		for range 2000 {
			c.learn(prefillSample{tokens: 4000, took: time.Duration(4000 * float64(startCost) * max(0, 1+sigma*rnd.NormFloat64()))}, startCost)
		}
		if got, want := c.lateShare(), sigma*0.399; math.Abs(got-want) > 0.03 {
			t.Errorf("spread %v: a late prefill counts for %.3f of its cost, want %.3f", sigma, got, want)
		}
	}
	var c cost
	if got := c.lateShare(); got < 0.1 || got > 0.15 {
		t.Errorf("before anything is known: %v", got)
	}
}

func TestAbandonedPrefillsTeachNothing(t *testing.T) {
	rt, c := newTestRouter()
	one, two := rt.newTestRequest("aaaa"), rt.newTestRequest("bbbb")
	one.Route(a("n"), false)
	two.Route(a("n"), false)
	c.add(9 * time.Second)
	one.End() // given up: when the second one's prefill began is not known
	c.add(time.Millisecond)
	two.Confirm()
	two.FirstToken()
	two.End()
	if got := rt.Upstreams()[0].PerToken; got != startCost {
		t.Errorf("learned %v a token", got)
	}
	// Not streamed: when its prefill was over is a guess, and so is when the next began.
	whole := rt.NewRequest(Prompt{Chain: chainOf("c"), Tokens: 1000, BlockTokens: 64})
	next := rt.newTestRequest("dddd")
	whole.Route(a("n"), false)
	next.Route(a("n"), false)
	c.add(9 * time.Second)
	next.Confirm()
	next.FirstToken()
	next.End()
	if got := rt.Upstreams()[0].PerToken; got != startCost {
		t.Errorf("learned %v a token after a request that was not streamed", got)
	}
}

func TestWholeAnswersTeachNothing(t *testing.T) {
	rt, c := newTestRouter()
	whole := rt.NewRequest(Prompt{Chain: chainOf("c"), Tokens: 10_000, BlockTokens: 64})
	next := rt.newTestRequest("dddd")
	whole.Route(a("n"), false)
	next.Route(a("n"), false)
	for _, r := range []*Request{whole, next} { // sooner than predicted
		c.add(100 * time.Millisecond)
		r.Confirm()
		r.FirstToken()
		r.End()
	}
	if got := rt.Upstreams()[0].PerToken; got != startCost {
		t.Errorf("learned %v a token", got)
	}
}
