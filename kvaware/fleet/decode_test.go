// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func TestDecodesBesideSlowPrefill(t *testing.T) {
	for _, want := range []float64{0, 0.02, 0.1} {
		rnd := rand.New(rand.NewPCG(1, 8))
		f, _ := newTestFleet()
		u := f.upstream("n")
		for range 3000 {
			running, tokens := rnd.IntN(30), 100+rnd.IntN(4000)
			took := float64(tokens) * float64(startCost) * (1 + want*float64(running)) * math.Exp(rnd.NormFloat64()*0.2-0.02)
			f.learn(u, service{tokens: tokens, took: time.Duration(took), running: running})
		}
		for _, running := range []int{0, 10, 30} {
			u.load.requests = running
			k := f.known()
			got := float64(u.perToken(&k)) / float64(startCost)
			if truth := 1 + want*float64(running); got < 0.9*truth || got > 1.1*truth {
				t.Errorf("%v a request: with %d running %.2f times the cost, want %.2f", want, running, got, truth)
			}
		}
	}
}

func TestDecodeFactorIsBounded(t *testing.T) {
	var d decode
	if d.factor(1000) != 1 {
		t.Error("something was known before anything was seen")
	}
	for range 1000 {
		d.learn(4000, 1e9, 50)
	}
	if got := d.factor(1e6); got != slowest {
		t.Errorf("factor %v", got)
	}
	if got := d.factor(-1e6); got != quickest {
		t.Errorf("factor %v", got)
	}
	for range 10000 {
		d.learn(4000, 0, 50) // the more run, the quicker: that cannot be
	}
	if got := d.factor(10); got != 1 {
		t.Errorf("factor %v", got)
	}
}
