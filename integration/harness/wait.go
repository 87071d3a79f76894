// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// patience bounds the wait for work that the gateway does in the background. It
// is for busy machines: nothing normally takes so long.
const patience = 3 * time.Minute

// Await polls until a condition holds, and returns the time that this took.
func Await(t testing.TB, what string, holds func() bool) time.Duration {
	t.Helper()
	took, ok := poll(patience, holds)
	if !ok {
		t.Fatalf("it never happened: %s", what)
	}
	return took
}

func poll(most time.Duration, holds func() bool) (took time.Duration, ok bool) {
	began := time.Now()
	for pause := time.Millisecond; !holds(); pause = min(2*pause, 20*time.Millisecond) {
		if time.Since(began) > most {
			return 0, false
		}
		time.Sleep(pause)
	}
	return time.Since(began), true
}

// Attempt runs a scenario until it reports no problem. It is for scenarios that
// need answers within the gateway's own timeouts: a busy machine can miss them, and
// nothing has been shown then. A scenario reports everything else to t.
func Attempt(t testing.TB, scenario func(round int) (problem string)) {
	t.Helper()
	began := time.Now()
	for round := 0; ; round++ {
		problem := scenario(round)
		if problem == "" {
			return
		}
		t.Logf("attempt %d: %s", round+1, problem)
		if time.Since(began) > patience {
			t.Fatalf("it never happened in %d attempts", round+1)
		}
	}
}

// Soon polls until a condition holds, for ten seconds at most, and reports
// whether it did.
func Soon(holds func() bool) bool {
	_, ok := poll(10*time.Second, holds)
	return ok
}

// AwaitMetricsRead returns once the gateway has read the engine's metrics anew.
func AwaitMetricsRead(t testing.TB, e *enginesim.Engine) {
	t.Helper()
	AwaitMetricsReadAt(t, e.Addr())
}

// AwaitMetricsReadAt is AwaitMetricsRead for the engine at an address.
func AwaitMetricsReadAt(t testing.TB, address string) {
	t.Helper()
	since := time.Now()
	Await(t, "the metrics of "+address+" are read", func() bool {
		ago := Upstreams(t)[address].Engine.ReadAgo
		return ago != nil && time.Duration(*ago*float64(time.Second)) < time.Since(since)
	})
}

// AwaitQuiet returns once the gateway has learned all it can from the requests
// so far: no tokens are being fetched, all published events have been applied,
// and the index has not changed for longer than a prompt waits for its first
// event. Where a test keeps events from arriving, it waits for a longer quiet
// instead.
func AwaitQuiet(t testing.TB, engines []*enginesim.Engine) {
	t.Helper()
	last, quiet := 0.0, 0
	for began := time.Now(); time.Since(began) < patience; time.Sleep(10 * time.Millisecond) {
		now := Metric(t, "caddy_kv_aware_tree_bytes") + Metric(t, "caddy_kv_aware_events_blocks_total")
		if quiet++; now != last {
			last, quiet = now, 0
		}
		if quiet >= 25 && caughtUp(t, engines) || quiet == 100 {
			return
		}
	}
	t.Fatal("the gateway never stops learning")
}

// caughtUp reports whether no tokens and no events are known to be under way.
func caughtUp(t testing.TB, engines []*enginesim.Engine) bool {
	t.Helper()
	reports := Upstreams(t)
	for _, e := range engines {
		r := reports[e.Addr()]
		if r.Tokens.Waiting > 0 {
			return false
		}
		for _, rank := range r.Events {
			if !rank.Connected || rank.Known == "unknown" || rank.Batches < e.Published(rank.Rank) {
				return false
			}
		}
	}
	return true
}
