// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestMeanOfLike(t *testing.T) {
	const us = float64(time.Microsecond)
	of := func(tokens, microseconds float64) evidence { return evidence{tokens * microseconds * us, tokens} }
	for _, c := range []struct {
		name string
		in   []evidence
		want time.Duration
	}{
		{"one", []evidence{of(100, 125)}, 125 * time.Microsecond},
		{"equal ones by their tokens", []evidence{of(100, 100), of(300, 120)}, 115 * time.Microsecond},
		{"one of four is ten times slower", []evidence{of(100, 1000), of(100, 90), of(100, 110), of(100, 100)}, 100 * time.Microsecond},
		{"one of four is ten times quicker", []evidence{of(100, 10), of(100, 90), of(100, 110), of(100, 100)}, 100 * time.Microsecond},
		{"a slow one that is hardly known", []evidence{of(10, 1000), of(100, 100)}, 100 * time.Microsecond},
		{"two kinds", []evidence{of(500, 50), of(300, 100), of(100, 100)}, 50 * time.Microsecond},
		{"too cheap", []evidence{{1, 1000}}, lowestCost},
		{"too dear", []evidence{{1e12, 1}}, highestCost},
	} {
		if got := meanOfLike(c.in); (got - c.want).Abs() > time.Nanosecond {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// The median is that of all tokens, each with the cost at its upstream.
func TestMeanOfLikeIsAroundTheMedian(t *testing.T) {
	for seed := range uint64(500) {
		rnd := rand.New(rand.NewPCG(seed, 41))
		var all []evidence
		var each []float64
		for range 1 + rnd.IntN(8) {
			tokens, cost := 1+rnd.IntN(50), 1000*math.Exp(3*rnd.Float64())
			all = append(all, evidence{float64(tokens) * cost, float64(tokens)})
			for range tokens {
				each = append(each, cost)
			}
		}
		slices.Sort(each)
		median := each[(len(each)-1)/2]
		var like evidence
		for _, e := range all {
			if t := e.perToken(); t <= alike*median*(1+1e-9) && t*alike*(1+1e-9) >= median {
				like.took, like.tokens = like.took+e.took, like.tokens+e.tokens
			}
		}
		if got, want := float64(meanOfLike(all)), like.perToken(); math.Abs(got-want) > 2 {
			t.Fatalf("seed %d: %v, want %v: %v", seed, got, want, all)
		}
	}
}

// observe has an upstream compute prompts of 2,000 tokens at a true cost with
// noise.
func observe(rt *Router, address string, n int, perToken time.Duration, noise float64, rnd *rand.Rand) {
	for range n {
		took := 2000 * float64(perToken) * math.Exp(rnd.NormFloat64()*noise-noise*noise/2)
		rt.learnCost(rt.upstream(address), prefillSample{tokens: 2000, took: time.Duration(took)})
	}
}

func perTokenOf(rt *Router, address string) time.Duration {
	k := rt.averages()
	return rt.upstream(address).perToken(&k)
}

// Three upstreams are equal and one is slow. The equal one of which least is known
// must not seem to be like the slow one.
func TestASlowUpstreamSaysNothingOfTheOthers(t *testing.T) {
	for seed := range seeds(50) {
		rnd := rand.New(rand.NewPCG(seed, 42))
		rt, _ := newTestRouter()
		for range 10 {
			observe(rt, "slow", 1, 10*startCost, 0.3, rnd)
			observe(rt, "one", 5, startCost, 0.3, rnd)
			observe(rt, "two", 5, startCost, 0.3, rnd)
		}
		if new, one := perTokenOf(rt, "new"), perTokenOf(rt, "one"); float64(new) > 1.1*float64(one) {
			t.Errorf("seed %d: a new upstream costs %v, its equal %v", seed, new, one)
		}
		observe(rt, "new", 2, startCost*5/4, 0, rnd)
		if new, one := perTokenOf(rt, "new"), perTokenOf(rt, "one"); float64(new) > 1.1*float64(one) {
			t.Errorf("seed %d: after two slow prompts an upstream costs %v, its equal %v", seed, new, one)
		}
		if slow := perTokenOf(rt, "slow"); slow < 4*startCost {
			t.Errorf("seed %d: the slow one costs %v", seed, slow)
		}
	}
}

func TestWhatIsNotTriedIsLookedAtAgain(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 43))
	rt, _ := newTestRouter()
	observe(rt, "slow", 50, 10*startCost, 0.3, rnd)
	observe(rt, "unlucky", 50, startCost*3/2, 0.3, rnd)
	minutes := func(n int) {
		for range n {
			observe(rt, "one", 5, startCost, 0.3, rnd)
			rt.Sweep()
		}
	}
	minutes(10)
	one := perTokenOf(rt, "one")
	if slow, unlucky := perTokenOf(rt, "slow"), perTokenOf(rt, "unlucky"); slow < 8*one || unlucky <= one {
		t.Errorf("after ten minutes: %v, %v and %v", slow, unlucky, one)
	}
	minutes(35)
	if unlucky, one := perTokenOf(rt, "unlucky"), perTokenOf(rt, "one"); unlucky != one {
		t.Errorf("after 45 minutes: %v and %v", unlucky, one)
	}
	minutes(75)
	if slow, one := perTokenOf(rt, "slow"), perTokenOf(rt, "one"); slow > one*5/4 {
		t.Errorf("after two hours: %v and %v", slow, one)
	}
	minutes(600)
	if u := rt.upstream("slow"); u.cost != (cost{}) {
		t.Errorf("after twelve hours something is left: %+v", u.cost)
	}
}
