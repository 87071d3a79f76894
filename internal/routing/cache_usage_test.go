// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"
	"time"
)

func TestWaitForRoom(t *testing.T) {
	const second = time.Second
	for _, c := range []struct {
		name             string
		pinned           int64
		uncached         int
		others, capacity int64
		holding          time.Duration
		want             time.Duration
	}{
		{"fits", 6000, 4000, 0, 10_000, second, 0},
		{"a tenth too much, given back in a tenth of the time", 7000, 4000, 0, 10_000, second, second / 10},
		{"others count", 6000, 4000, 5000, 10_000, second, second / 2},
		{"a queue of several caches", 30_000, 0, 0, 10_000, second, 2 * second},
		{"capacity not known", 30_000, 0, 0, 0, second, 0},
		{"holding not known", 30_000, 0, 0, 10_000, 0, 0},
		{"beyond all measure", 1 << 60, 1 << 30, 0, 1, 1000 * time.Hour, maxScore},
	} {
		b := cacheUsage{pinned: c.pinned}
		if got := b.waitForRoom(c.uncached, c.others, c.capacity, c.holding); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestReportedUsageAddsUnknownTokens(t *testing.T) {
	b := cacheUsage{pinned: 4000}
	for usage, want := range map[float64]int64{0: 0, 0.3: 0, 0.9: 5000, 7: 6000, -1: 0} {
		if b.setReported(usage, 10_000); b.others != want {
			t.Errorf("usage %v: %d tokens of others, want %d", usage, b.others, want)
		}
	}
}

func TestBlockLifetimeIsAFadingMean(t *testing.T) {
	var h blockLifetime
	if h.mean() != 0 {
		t.Fatal("knows without having learned")
	}
	h.learn(2 * time.Second)
	h.learn(4 * time.Second)
	if got := h.mean(); got < 2900*time.Millisecond || got > 3100*time.Millisecond {
		t.Fatalf("mean %v of 2 s and 4 s", got)
	}
	for range 10 * costMemory {
		h.learn(10 * time.Second)
	}
	if got := h.mean(); got < 9900*time.Millisecond {
		t.Fatalf("%v after many of 10 s", got)
	}
}

// Answers under way fill an upstream's cache. So a prompt waits there although the
// GPU has no prefill to do, and although the upstream holds the prompt.
func TestAFullCacheDelaysPrompts(t *testing.T) {
	rt, c := newTestRouter()
	two := []Candidate{{Address: "one"}, {Address: "two"}}
	const room = 20 * 64
	rt.SetCapacity("one", room)
	rt.SetCapacity("two", room)
	run := func(r *Request) {
		r.Confirm()
		r.FirstToken()
	}
	known := rt.newTestRequest("abcd")
	known.Route(two[:1], false)
	run(known)
	c.add(20 * time.Second) // the time for which requests keep their blocks
	known.End()

	probe := func() (target int, wait time.Duration) {
		forecasts, d := rt.newTestRequest("abcdefgh").Explain(two)
		return d.Pick, forecasts[0].Wait
	}
	if target, wait := probe(); target != 0 || wait != 0 {
		t.Fatalf("picked %d after %v, want the holder at once", target, wait)
	}
	long := rt.newTestRequest("ijklmnopqrstuvwxyz")
	long.Route(two[:1], false)
	run(long)
	if target, wait := probe(); target != 1 || wait < time.Second || wait > 20*time.Second {
		t.Fatalf("target %d, a wait of %v at the full one", target, wait)
	}
	long.End()
	if _, wait := probe(); wait != 0 {
		t.Fatal("blocks that were given back still count")
	}

	// The engine says that others have filled it.
	rt.SetLoad("one", EngineLoad{Running: 3, Usage: 0.95})
	if target, wait := probe(); target != 1 || wait == 0 {
		t.Fatalf("target %d, a wait of %v, with 95 %% in use by others", target, wait)
	}
	c.add(loadTTL + time.Second)
	if _, wait := probe(); wait != 0 {
		t.Fatal("an old report still counts")
	}
}

// An attempt that fails gives its blocks back and teaches nothing.
func TestAFailedAttemptHoldsNoBlocks(t *testing.T) {
	rt, c := newTestRouter()
	r := rt.newTestRequest("abcdefgh")
	r.Route(a("one"), false)
	c.add(time.Hour)
	r.Route(a("two"), false) // tried again elsewhere
	if one, two := rt.upstreams["one"].cacheUsage.pinned, rt.upstreams["two"].cacheUsage.pinned; one != 0 || two != int64(r.Tokens()) {
		t.Fatalf("%d and %d tokens pinned, want none and %d", one, two, r.Tokens())
	}
	r.End()
	r.End()
	if two := rt.upstreams["two"].cacheUsage.pinned; two != 0 || rt.blockLifetime.mean() != 0 {
		t.Fatalf("%d tokens pinned after the end, lifetime %v learned", two, rt.blockLifetime.mean())
	}
}
