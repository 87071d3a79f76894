// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"testing"
	"time"
)

func TestChoose(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []candidate
		want int
	}{
		{"none", nil, -1},
		{"one", []candidate{{Uncached: 10}}, 0},
		{"the one that holds the prefix", []candidate{{Uncached: 8000}, {Uncached: 100}}, 1},
		{"waiting costs less than recomputing", []candidate{{Uncached: 100, Wait: ms(500)}, {Uncached: 8000}}, 0},
		{"waiting costs more than recomputing", []candidate{{Uncached: 100, Wait: ms(1500)}, {Uncached: 8000}}, 1},
		{"equal: fewer in flight", []candidate{{Uncached: 800, InFlight: 2}, {Uncached: 800, InFlight: 1}}, 1},
		{"equal within a millisecond", []candidate{{Uncached: 800, InFlight: 2}, {Uncached: 804, InFlight: 1}}, 1},
		{"not equal any more", []candidate{{Uncached: 800, InFlight: 2}, {Uncached: 809, InFlight: 1}}, 0},
		{"equal in all: the emptier cache", []candidate{{Footprint: 9}, {Footprint: 3}, {Footprint: 5}}, 1},
		{"all equal: the first", []candidate{{}, {}, {}}, 0},
	} {
		if got := choose(c.in); got != c.want {
			t.Errorf("%s: chose %d, want %d", c.name, got, c.want)
		}
	}
}

// Requests that arrive together must not all pick the same upstream.
func TestABurstSpreads(t *testing.T) {
	loads := make([]queue, 4)
	picks := make([]int, 4)
	for range 40 {
		candidates := make([]candidate, len(loads))
		for i := range loads {
			candidates[i] = candidate{Wait: loads[i].wait(epoch), Uncached: 4000, InFlight: loads[i].count()}
		}
		pick := choose(candidates)
		loads[pick].reserve(new(reservation), epoch, prefill(4000), false)
		picks[pick]++
	}
	for i, n := range picks {
		if n != 10 {
			t.Fatalf("upstream %d got %d of 40 equal requests: %v", i, n, picks)
		}
	}
}

// A prefix that only one upstream holds, asked for by a burst: as many stay
// as can be served sooner there than computed elsewhere, the rest spread.
func TestAHotPrefixSpillsWhenWaitingCostsMore(t *testing.T) {
	var holder, other queue
	stay := 0
	for range 30 {
		c := []candidate{
			{Wait: holder.wait(epoch), Uncached: 200, InFlight: holder.count()},
			{Wait: other.wait(epoch), Uncached: 4000, InFlight: other.count()},
		}
		if choose(c) == 0 {
			holder.reserve(new(reservation), epoch, prefill(200), false)
			stay++
		} else {
			other.reserve(new(reservation), epoch, prefill(4000), false)
		}
	}
	// 20 x 200 uncached tokens queue up before computing all 4,000 is as soon.
	if stay < 20 || stay == 30 {
		t.Fatalf("%d of 30 stayed", stay)
	}
}

func BenchmarkChoose64(b *testing.B) {
	candidates := make([]candidate, 64)
	for i := range candidates {
		candidates[i] = candidate{Wait: time.Duration(i*7919%64) * time.Millisecond, Uncached: 8000 - i, InFlight: i % 5}
	}
	b.ReportAllocs()
	for b.Loop() {
		if choose(candidates) < 0 {
			b.Fatal("nothing chosen")
		}
	}
}
