// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"testing"
	"time"
)

var start = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

func TestBreakerOpensAndRecovers(t *testing.T) {
	var b breaker
	now := start
	fail := func(v verdict) {
		t.Helper()
		if !b.closed(now) {
			t.Fatalf("open at %v", now.Sub(start))
		}
		b.report(v, b.enter(), now, 0.5)
	}
	fail(sick)
	fail(sick)
	b.report(healthy, b.enter(), now, 0.5) // a success between them
	fail(sick)
	fail(sick)
	fail(sick)
	for pause := pauseFirst; pause <= pauseMost; pause *= 2 {
		if b.closed(now.Add(pause - 1)) {
			t.Fatalf("closed before %v are over", pause)
		}
		now = now.Add(pause)
		if !b.closed(now) {
			t.Fatalf("open after %v", pause)
		}
		probe := b.enter()
		if !probe || b.closed(now) {
			t.Fatal("a second call beside the probe")
		}
		b.report(sick, probe, now, 0.5)
	}
	now = now.Add(pauseMost)
	probe := b.enter()
	b.report(notAsked, probe, now, 0.5) // nobody was asked: the next one is the probe
	probe = b.enter()
	if !probe {
		t.Fatal("no probe after one that asked nobody")
	}
	b.report(healthy, probe, now, 0.5)
	if b != (breaker{}) {
		t.Errorf("after a success %+v", b)
	}
}

func TestBreakerAbsentAndJitter(t *testing.T) {
	for random, want := range map[float64]time.Duration{0: pauseAbsent * 8 / 10, 0.5: pauseAbsent, 1: pauseAbsent * 12 / 10} {
		var b breaker
		b.report(absent, b.enter(), start, random)
		if got := b.until.Sub(start); got != want {
			t.Errorf("%v: %v, want %v", random, got, want)
		}
	}
}

// TestBreakerLateEnds: what began before the node was left alone ends later,
// and neither closes the breaker nor takes the probe's place.
func TestBreakerLateEnds(t *testing.T) {
	var b breaker
	old := b.enter()
	for range maxFailures {
		b.report(sick, b.enter(), start, 0.5)
	}
	until := b.until
	b.report(healthy, old, start, 0.5)
	b.report(sick, old, start, 0.5)
	if b.until != until {
		t.Fatal("late ends changed the pause")
	}
	probe := b.enter()
	b.report(sick, old, until, 0.5)
	if b.closed(until.Add(time.Hour)) {
		t.Fatal("a late end let a second probe through")
	}
	b.report(healthy, probe, until, 0.5)
	if !b.closed(until) {
		t.Fatal("open after the probe's success")
	}
}

func TestBucket(t *testing.T) {
	var b bucket
	taken := func(now time.Time) (n int) {
		for b.take(now, 10, 5) {
			n++
		}
		return n
	}
	for _, c := range []struct {
		at   time.Duration
		want int
	}{{0, 5}, {0, 0}, {99 * time.Millisecond, 0}, {100 * time.Millisecond, 1}, {450 * time.Millisecond, 3}, {time.Hour, 5}, {time.Minute, 0}} {
		if got := taken(start.Add(c.at)); got != c.want {
			t.Errorf("at %v: %d, want %d", c.at, got, c.want)
		}
	}
}

func TestShouldWait(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct{ gain, expected, limit, want time.Duration }{
		{500 * ms, 40 * ms, 100 * ms, 100 * ms},
		{500 * ms, 100 * ms, 100 * ms, 100 * ms},
		{500 * ms, 101 * ms, 100 * ms, 0}, // would be held for nothing
		{80 * ms, 40 * ms, 100 * ms, 80*ms - 1},
		{40 * ms, 40 * ms, 100 * ms, 0}, // nothing is gained
		{101 * ms, 0, 100 * ms, 100 * ms},
		{100 * ms, 0, 100 * ms, 0}, // not known how long: may be all of it
		{500 * ms, 40 * ms, 0, 0},  // not allowed
		{0, 0, 100 * ms, 0},
		{-ms, 0, 100 * ms, 0},
		{1, 1, 1, 0},
	} {
		got := HoldTime(c.gain, c.expected, c.limit)
		if got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
		if got > 0 && got >= c.gain || got > max(c.limit, 0) {
			t.Errorf("%+v: held for %v", c, got)
		}
	}
}

func TestGain(t *testing.T) {
	for _, c := range []struct {
		tokens int
		cost   float64
		want   time.Duration
	}{{8000, 0.000125, time.Second}, {0, 1, 0}, {-5, 1, 0}, {5, -1, 0}, {5, nan(), 0}, {1 << 40, 1e30, 1<<63 - 1}} {
		if got := Gain(c.tokens, c.cost); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func nan() float64 { zero := 0.0; return zero / zero }
