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
	b.report(notAsked, probe, now, 0.5) // the call was not made: the next one is the probe
	probe = b.enter()
	if !probe {
		t.Fatal("no probe after one that was not made")
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

// TestBreakerLateEnds: calls from before the pause that end later neither close the
// breaker nor end the probe.
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
