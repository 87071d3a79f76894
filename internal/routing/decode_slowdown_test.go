// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func TestDecodesBesideSlowPrefill(t *testing.T) {
	for _, want := range []decodeLoad{{}, {requests: 0.02}, {requests: 0.1}, {active: 0.3}, {active: 0.3, requests: 0.02}} {
		rnd := rand.New(rand.NewPCG(1, 8))
		rt, _ := newTestRouter()
		u := rt.upstream("n")
		slower := func(running int) float64 {
			x := decodeLoadOf(running)
			return 1 + want.active*x.active + want.requests*x.requests
		}
		for range 3000 {
			running, tokens := max(0, rnd.IntN(40)-10), 100+rnd.IntN(4000) // nothing runs a quarter of the time
			took := float64(tokens) * float64(startCost) * slower(running) * math.Exp(rnd.NormFloat64()*0.2-0.02)
			rt.learnCost(u, prefillSample{tokens: tokens, took: time.Duration(took), decoding: running})
		}
		for _, running := range []int{0, 1, 10, 30} {
			u.queue.requests = running
			k := rt.averages()
			got := float64(u.perToken(&k)) / float64(startCost)
			if truth := slower(running); got < 0.9*truth || got > 1.1*truth {
				t.Errorf("%+v: with %d running %.2f times the cost, want %.2f", want, running, got, truth)
			}
		}
	}
}

func TestDecodeFactorIsBounded(t *testing.T) {
	var d decodeSlowdown
	if d.factor(decodeLoad{1, 1000}) != 1 {
		t.Error("something was known before anything was seen")
	}
	for range 1000 {
		d.learn(4000, 1e9, decodeLoad{0.5, 50})
	}
	if got := d.factor(decodeLoad{1, 1e6}); got != slowest {
		t.Errorf("factor %v", got)
	}
	if got := d.factor(decodeLoad{-1, -1e6}); got != quickest {
		t.Errorf("factor %v", got)
	}
	for range 10000 {
		d.learn(4000, 0, decodeLoad{0.5, 50}) // the more run, the quicker: that cannot be
	}
	if got := d.factor(decodeLoad{1, 10}); got != 1 {
		t.Errorf("factor %v", got)
	}
}

// No coefficient is ever below 0, and of all such coefficients none is nearer to the
// observations, however few they are.
func TestDecodeCoefficientsAreTheNearest(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 9))
		var d decodeSlowdown
		for range 1 + rnd.IntN(200) {
			d.learn(1+rnd.IntN(1e5), 3*rnd.Float64(), decodeLoad{rnd.Float64() - 0.5, 40*rnd.Float64() - 20})
		}
		// The remaining squared deviations, up to a constant, with the prior.
		left := func(s decodeLoad) float64 {
			return s.active*s.active*(d.square.active+decodePrior) + s.requests*s.requests*(d.square.requests+decodePrior) +
				2*s.active*s.requests*d.product - 2*s.active*d.y.active - 2*s.requests*d.y.requests
		}
		got := d.coefficients()
		if got.active < 0 || got.requests < 0 {
			t.Fatalf("seed %d: %+v", seed, got)
		}
		for range 1000 {
			other := decodeLoad{rnd.Float64() * 2 * (got.active + 0.1), rnd.Float64() * 2 * (got.requests + 0.1)}
			if left(other) < left(got)-1e-6*math.Abs(left(got)) {
				t.Fatalf("seed %d: %+v is nearer than %+v", seed, other, got)
			}
		}
	}
}
