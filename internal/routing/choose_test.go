// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"math"
	"testing"
	"time"
)

func TestChoose(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []scoredCandidate
		want int
	}{
		{"none", nil, -1},
		{"one", []scoredCandidate{{Uncached: 10}}, 0},
		{"the one that holds the prefix", []scoredCandidate{{Uncached: 8000}, {Uncached: 100}}, 1},
		{"waiting costs less than recomputing", []scoredCandidate{{Uncached: 100, Wait: ms(500)}, {Uncached: 8000}}, 0},
		{"waiting costs more than recomputing", []scoredCandidate{{Uncached: 100, Wait: ms(1500)}, {Uncached: 8000}}, 1},
		{"equal: fewer in flight", []scoredCandidate{{Uncached: 800, InFlight: 2}, {Uncached: 800, InFlight: 1}}, 1},
		{"equal within a millisecond", []scoredCandidate{{Uncached: 800, InFlight: 2}, {Uncached: 804, InFlight: 1}}, 1},
		{"not equal any more", []scoredCandidate{{Uncached: 800, InFlight: 2}, {Uncached: 809, InFlight: 1}}, 0},
		{"equal in all: the emptier cache", []scoredCandidate{{Footprint: 9}, {Footprint: 3}, {Footprint: 5}}, 1},
		{"all equal: the first", []scoredCandidate{{}, {}, {}}, 0},
		{"equal but for the penalty", []scoredCandidate{{Penalty: ms(2)}, {InFlight: 9, Footprint: 9}}, 1},
		{"equal penalties", []scoredCandidate{{Penalty: ms(50), InFlight: 2}, {Penalty: ms(50), InFlight: 1}}, 1},
		{"penalties within a millisecond", []scoredCandidate{{InFlight: 2}, {Penalty: ms(1) / 2, InFlight: 1}}, 1},
		{"a penalty outweighs a hit", []scoredCandidate{{Uncached: 8000}, {Uncached: 100, Penalty: ms(1000)}}, 0},
		{"a hit outweighs a penalty", []scoredCandidate{{Uncached: 8000}, {Uncached: 100, Penalty: ms(900)}}, 1},
		{"rather wait than fail", []scoredCandidate{{Penalty: ms(100)}, {Wait: ms(100), InFlight: 5}}, 1},
	} {
		for i := range c.in {
			c.in[i].PerToken, c.in[i].Unsent = startCost, c.in[i].Uncached
		}
		if got, _ := choose(c.in); got != c.want {
			t.Errorf("%s: chose %d, want %d", c.name, got, c.want)
		}
	}
}

func TestPenaltyIsBounded(t *testing.T) {
	c := scoredCandidate{Wait: ms(100), PerToken: startCost, Uncached: 8000, Penalty: math.MaxInt64}
	if got := c.computeScore(contention{}); got != maxScore {
		t.Errorf("score %v", got)
	}
	both := []scoredCandidate{{Penalty: math.MaxInt64, InFlight: 3}, {Penalty: math.MaxInt64, InFlight: 2}}
	if got, _ := choose(both); got != 1 {
		t.Errorf("of two that fail for sure chose %d, the busier one", got)
	}
}

// Requests that arrive together must not all pick the same upstream.
func TestABurstSpreads(t *testing.T) {
	loads := make([]prefillQueue, 4)
	picks := make([]int, 4)
	for range 40 {
		candidates := make([]scoredCandidate, len(loads))
		for i := range loads {
			candidates[i] = scoredCandidate{Wait: loads[i].wait(epoch, 0), PerToken: startCost, Uncached: 4000, InFlight: loads[i].requests}
		}
		pick, _ := choose(candidates)
		loads[pick].reserve(new(reservation), epoch, 4000, prefill(4000, startCost), false)
		picks[pick]++
	}
	for i, n := range picks {
		if n != 10 {
			t.Fatalf("upstream %d got %d of 40 equal requests: %v", i, n, picks)
		}
	}
}

// A burst asks for a prefix that only one upstream holds: as many requests stay as
// can be served sooner there than computed elsewhere, the rest spread.
func TestAHotPrefixSpillsWhenWaitingCostsMore(t *testing.T) {
	var holder, other prefillQueue
	stay := 0
	for range 30 {
		c := []scoredCandidate{
			{Wait: holder.wait(epoch, 0), PerToken: startCost, Uncached: 200, InFlight: holder.requests},
			{Wait: other.wait(epoch, 0), PerToken: startCost, Uncached: 4000, InFlight: other.requests},
		}
		if pick, _ := choose(c); pick == 0 {
			holder.reserve(new(reservation), epoch, 200, prefill(200, startCost), false)
			stay++
		} else {
			other.reserve(new(reservation), epoch, 4000, prefill(4000, startCost), false)
		}
	}
	// 20 x 200 uncached tokens queue up before computing all 4,000 is as soon.
	if stay < 20 || stay == 30 {
		t.Fatalf("%d of 30 stayed", stay)
	}
}

// When all queues are long, computing something again delays all later requests.
func TestOverloadWeighsRecomputing(t *testing.T) {
	c := []scoredCandidate{
		{Wait: ms(3000), PerToken: startCost, Uncached: 800, Unsent: 800, Queued: 2},
		{Wait: ms(1000), PerToken: startCost, Uncached: 8800, Unsent: 8800, Queued: 2},
	}
	if got, _ := choose(c); got != 0 {
		t.Errorf("at least two more wait, each a second longer: chose %d", got)
	}
	c = append(c, scoredCandidate{Wait: ms(1000), PerToken: startCost, Uncached: 8800, Unsent: 8800})
	if got, _ := choose(c); got == 0 {
		t.Error("an upstream with an empty queue delays no request, but the longest queue was picked")
	}
	for i := range c {
		c[i].Queued, c[i].Demand = 1, 0.8
	}
	if got := contentionOf(c).behind; got < 4.99 || got > 5.01 {
		t.Errorf("a queue of 1 at a demand of 0.8 makes %v wait, want 1/(1-0.8)", got)
	}
	for i := range c {
		c[i].Queued, c[i].Demand = 1_000_000, 5
		c[i].Uncached, c[i].Unsent = 10_000_000, 10_000_000
		if p := c[i].computeScore(contentionOf(c)); p <= 0 {
			t.Errorf("score %v", p)
		}
	}
}

// Below capacity a busy period of prompts comes: each brings demand more while it is
// served. Above it as many come as have come since the overload began, counted here
// one by one.
func TestArrivalsUntilIdle(t *testing.T) {
	for _, demand := range []float64{0, 0.3, 0.5, 0.8} {
		var want float64
		for generation := 7.0; generation > 1e-6; generation *= demand {
			want += generation
		}
		if got := arrivalsUntilIdle(7, demand); math.Abs(got-want) > 1e-3 {
			t.Errorf("demand %v: %v arrive after 7, want %v", demand, got, want)
		}
	}
	for _, demand := range []float64{1.25, 1.5, 2, 4, 10} {
		const came = 100_000
		queued, served := 0, 0.0
		for range came {
			queued++
			for served += 1 / demand; served >= 1; served-- {
				queued--
			}
		}
		if got := arrivalsUntilIdle(queued, demand); math.Abs(got-came) > came/100 {
			t.Errorf("demand %v: %v arrive after %d, but %d have come", demand, got, queued, came)
		}
	}
	for _, demand := range []float64{0.9, 0.99, 1, 1.01, 1.1} {
		if got := arrivalsUntilIdle(3, demand); got < 29.9 || got > 33.1 {
			t.Errorf("demand %v, about 1: %v arrive after 3", demand, got)
		}
		if got := arrivalsUntilIdle(0, demand); got != 0 {
			t.Errorf("demand %v: %v arrive at an idle upstream", demand, got)
		}
	}
}

// In a short overload it is worth waiting long to spare others a little work. In one
// of twice the capacity it is not: most of the requests it delays have come already.
func TestADeepOverloadKeepsQueuesTogether(t *testing.T) {
	c := []scoredCandidate{
		{Wait: 200 * time.Second, PerToken: startCost, Uncached: 8000, Unsent: 8000, Queued: 40},
		{Wait: 100 * time.Second, PerToken: startCost, Uncached: 10_400, Unsent: 10_400, Queued: 40},
	}
	for demand, want := range map[float64]int{0.95: 0, 1.05: 0, 2: 1, 5: 1} {
		c[0].Demand, c[1].Demand = demand, demand
		if got, _ := choose(c); got != want {
			t.Errorf("demand %v: 100 s of waiting or 0.3 s of work: chose %d, want %d", demand, got, want)
		}
	}
}

// Requests that come to an idle upstream while it computes a long prompt wait for
// it: that is the cost of moving a conversation.
func TestArrivalsWeighRecomputing(t *testing.T) {
	c := []scoredCandidate{
		{Wait: ms(4900), PerToken: startCost, Uncached: 800},
		{PerToken: startCost, Uncached: 36_000},
	}
	if got, _ := choose(c); got != 1 {
		t.Errorf("without arrivals: chose %d", got)
	}
	for i := range c {
		c[i].Rate = 1 / float64(time.Second)
	}
	// One a second: 4.5 s of prefill delay 4.5 of them by 2.25 s on average,
	// 0.1 s after a wait of 4.9 s delay five of them by a tenth.
	if got, _ := choose(c); got != 0 {
		t.Errorf("one arrival a second: chose %d", got)
	}
	if got, want := c[1].computeScore(contentionOf(c)), ms(4500+10125); got < want-time.Microsecond || got > want+time.Microsecond {
		t.Errorf("score %v, want %v", got, want)
	}
}

// A prompt that was evicted goes back to its upstream when there is a queue
// everywhere.
func TestEvictedPromptsGoBackInOverload(t *testing.T) {
	c := []scoredCandidate{
		{Wait: ms(1000), PerToken: startCost, Uncached: 8000, Unsent: 8000, Queued: 2},
		{Wait: ms(1200), PerToken: startCost, Uncached: 8000, Unsent: 100, Queued: 2},
	}
	if got, _ := choose(c); got != 1 {
		t.Errorf("chose %d", got)
	}
	c[0].Queued = 0
	if got, _ := choose(c); got != 0 {
		t.Errorf("with an empty queue: chose %d", got)
	}
}

func BenchmarkChoose64(b *testing.B) {
	candidates := make([]scoredCandidate, 64)
	for i := range candidates {
		candidates[i] = scoredCandidate{Wait: time.Duration(i*7919%64) * time.Millisecond, PerToken: startCost, Uncached: 8000 - i, InFlight: i % 5}
	}
	b.ReportAllocs()
	for b.Loop() {
		if pick, _ := choose(candidates); pick < 0 {
			b.Fatal("nothing chosen")
		}
	}
}
