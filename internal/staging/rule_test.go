// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/routing"
)

func TestMissing(t *testing.T) {
	for _, c := range []struct {
		name     string
		o        routing.Prediction
		all, own int
	}{
		{name: "cold"},
		{name: "all on the GPU", o: routing.Prediction{OnGPU: 4000, EverSent: 4000, Longest: 4000}},
		{name: "evicted there", o: routing.Prediction{OnGPU: 1000, EverSent: 4000, Longest: 4000}, all: 3000, own: 3000},
		{name: "elsewhere", o: routing.Prediction{OnGPU: 0, EverSent: 0, Longest: 4000}, all: 4000},
		{name: "partly elsewhere", o: routing.Prediction{OnGPU: 500, EverSent: 1000, Longest: 4000}, all: 3500, own: 500},
		{name: "known to be on disk", o: routing.Prediction{Offload: routing.Offload{Storage: 2048}}, all: 2048, own: 2048},
		{name: "known to be in memory", o: routing.Prediction{EverSent: 4000, Longest: 4000, Offload: routing.Offload{CPU: 4096, Storage: 4096}}},
		{name: "half in memory", o: routing.Prediction{EverSent: 4000, Longest: 4000, Offload: routing.Offload{CPU: 1024, Storage: 4096}}, all: 3072, own: 3072},
		{name: "more on the GPU than known", o: routing.Prediction{OnGPU: 4000, EverSent: 4000, Longest: 4000, Offload: routing.Offload{Storage: 2048}}},
	} {
		if all, own := missing(c.o); all != c.all || own != c.own {
			t.Errorf("%s: %d and %d, want %d and %d", c.name, all, own, c.all, c.own)
		}
	}
}

func TestStagingIsForRequestsThatWait(t *testing.T) {
	const ms = time.Millisecond
	// 4,000 tokens at 8,000 a second: computing them takes half a second.
	base := moment{missing: 4000, own: 4000, lead: 20 * ms, perToken: 125 * time.Microsecond}
	with := func(change func(m *moment)) moment {
		m := base
		change(&m)
		return m
	}
	for _, c := range []struct {
		name  string
		m     moment
		stage bool
		hold  time.Duration
	}{
		{name: "an idle engine", m: base},
		{name: "a queue", m: with(func(m *moment) { m.wait = 100 * ms }), stage: true},
		{name: "a queue that is over before LMCache begins", m: with(func(m *moment) { m.wait = 15 * ms })},
		{name: "a queue that is over before LMCache is done", m: with(func(m *moment) { m.wait, m.expected = 100*ms, 90*ms })},
		{name: "a queue, but nothing missing", m: with(func(m *moment) { m.wait, m.missing, m.own = time.Second, 200, 200 })},
		{name: "failover", m: with(func(m *moment) { m.failover = true }), stage: true},
		{name: "failover of a new prompt", m: with(func(m *moment) { m.failover, m.missing, m.own = true, 0, 0 })},
		{name: "held", m: with(func(m *moment) { m.limit = 150 * ms }), stage: true, hold: 150 * ms},
		{name: "held, for less than is gained", m: with(func(m *moment) { m.limit, m.expected = 10*time.Second, 300*ms }), stage: true, hold: 500*ms - 1},
		{name: "not known how long, with a generous limit", m: with(func(m *moment) { m.limit = 5 * time.Second }), stage: true, hold: 500*ms - 1},
		{name: "computed before LMCache can begin", m: with(func(m *moment) { m.limit, m.lead = 5*time.Second, 600*ms })},
		{name: "staging takes longer than computing", m: with(func(m *moment) { m.limit, m.expected = time.Second, 600*ms })},
		{name: "staging takes longer than allowed", m: with(func(m *moment) { m.limit, m.expected = 150*ms, 200*ms })},
		{name: "the queue is long enough", m: with(func(m *moment) { m.limit, m.expected, m.wait = 150*ms, 100*ms, 200*ms }), stage: true},
		{name: "the queue is too short", m: with(func(m *moment) { m.limit, m.expected, m.wait = 150*ms, 100*ms, 50*ms }), stage: true, hold: 150 * ms},
		{name: "no hold for blocks that only other upstreams had", m: with(func(m *moment) { m.limit, m.own = 150*ms, 0 })},
	} {
		if stage, hold := c.m.decide(); stage != c.stage || hold != c.hold {
			t.Errorf("%s: %v, %v, want %v, %v", c.name, stage, hold, c.stage, c.hold)
		}
	}
}

// TestStagingHoldsWithinBounds: no request is held for longer than allowed, nor for
// as long as computing its blocks would take, nor without a staging.
func TestStagingHoldsWithinBounds(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	duration := func(most time.Duration) time.Duration {
		if random.IntN(4) == 0 {
			return 0
		}
		return time.Duration(random.Int64N(int64(most)))
	}
	held := 0
	rounds := 100_000
	if testing.Short() {
		rounds = 10_000
	}
	for range rounds {
		m := moment{
			missing: random.IntN(100_000), wait: duration(2 * time.Second), lead: duration(100 * time.Millisecond),
			expected: duration(2 * time.Second), perToken: duration(time.Millisecond), failover: random.IntN(2) == 0,
			limit: duration(time.Second) - 10*time.Millisecond,
		}
		m.own = random.IntN(m.missing + 1)
		stage, hold := m.decide()
		if hold == 0 {
			continue
		}
		held++
		if !stage || hold < 0 || hold > m.limit || hold >= time.Duration(m.own)*m.perToken {
			t.Fatalf("%+v: %v, %v", m, stage, hold)
		}
	}
	if held == 0 {
		t.Fatal("no request was ever held")
	}
}

func TestStagingIsNotBegunTooLate(t *testing.T) {
	now := time.Unix(1000, 0)
	for want, m := range map[time.Duration]moment{
		300 * time.Millisecond: {wait: 300 * time.Millisecond},
		150 * time.Millisecond: {wait: 50 * time.Millisecond},
	} {
		if got := m.until(now, 150*time.Millisecond); got.Sub(now) != want {
			t.Errorf("%+v: %v later, want %v", m, got.Sub(now), want)
		}
	}
	if got := (moment{failover: true, wait: time.Second}).until(now, 0); !got.IsZero() {
		t.Errorf("on failover: %v", got)
	}
}
