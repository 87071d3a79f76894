// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
)

var halves = [3]float64{1, 0.8, 0.3}

// offloading is a request for a prompt of 16 blocks of 64 tokens, to engines
// that keep blocks outside their GPUs.
func offloading(rt *Router, from uint64) *Request {
	chain := make([]uint64, 16)
	for i := range chain {
		chain[i] = from + uint64(i)
	}
	return rt.NewRequest(Prompt{Chain: chain, Tokens: 1200, BlockTokens: 64, OffloadWeights: &halves})
}

func sendTo(r *Request, address string) {
	r.Assign(Candidate{Address: address})
	r.Confirm()
	r.End()
}

func TestOutlook(t *testing.T) {
	now := time.Unix(1000, 0)
	rt := New(2_000_000, func() time.Time { return now })
	rt.SetCapacity("one", 1024)
	sendTo(offloading(rt, 1), "one")
	again := offloading(rt, 1)
	again.Assign(Candidate{Address: "one"})
	if o := again.Prediction(); o.OnGPU != 1024 || o.EverSent != 1024 || o.Longest != 1024 || o.PerToken <= 0 {
		t.Errorf("of what it holds: %+v", o)
	}
	again.End()
	sendTo(offloading(rt, 100), "one") // pushes the other out
	evicted := offloading(rt, 1)
	evicted.Assign(Candidate{Address: "one"})
	if o := evicted.Prediction(); o.OnGPU >= 512 || o.EverSent != 1024 || o.Longest != 1024 {
		t.Errorf("of what was pushed out: %+v", o)
	}
	evicted.End()
	elsewhere := offloading(rt, 1)
	elsewhere.Assign(Candidate{Address: "two", Offload: &Offload{CPU: 256, Storage: 512}})
	if o := elsewhere.Prediction(); o.OnGPU != 0 || o.EverSent != 0 || o.Longest != 1024 || o.Offload != (Offload{CPU: 256, Storage: 512}) {
		t.Errorf("where it never was: %+v", o)
	}
	elsewhere.End()
	cold := offloading(rt, 500)
	cold.Assign(Candidate{Address: "two"})
	if o := cold.Prediction(); o.OnGPU != 0 || o.EverSent != 0 || o.Longest != 0 {
		t.Errorf("of a new prompt: %+v", o)
	}
}

// What events say is on disk or in CPU memory is not on the GPU, whatever it
// counts: it can be staged.
func TestOutlookByEvents(t *testing.T) {
	rt, _ := newTestRouter()
	rt.link(t, "abcdef")
	feed := rt.followRanks("one", 1)[0]
	look := func() Prediction {
		t.Helper()
		r := rt.followedRequest("abcdef")
		r.offloadWeights = &halves
		defer r.End()
		r.Assign(Candidate{Address: "one"})
		o := r.Prediction()
		return Prediction{OnGPU: o.OnGPU, EverSent: o.EverSent, Offload: o.Offload}
	}
	says(t, feed, kvevents.GPU, idsOf("a"))
	if o, want := look(), (Prediction{OnGPU: 64, EverSent: 64}); o != want {
		t.Errorf("all on the GPU: %+v, want %+v", o, want)
	}
	says(t, feed, kvevents.CPU, idsOf("abc"))
	says(t, feed, kvevents.Disk, idsOf("abcd"))
	rt.sent("one", "abcde") // long ago
	if o, want := look(), (Prediction{OnGPU: 64, EverSent: 320, Offload: Offload{CPU: 192, Storage: 256}}); o != want {
		t.Errorf("in all tiers: %+v, want %+v", o, want)
	}
}

// An engine that was restarted holds nothing on its GPU. What LMCache keeps beside
// it is there still; without LMCache there is nothing.
func TestOutlookAfterARestart(t *testing.T) {
	for name, restart := range map[string]func(*Router){
		"told": func(rt *Router) {
			if !rt.CacheLost("one") || rt.CacheLost("nobody") {
				t.Error("it is not told who is known")
			}
		},
		"seen": func(rt *Router) {
			for i := range restartAfter {
				r := offloading(rt, uint64(1000*i))
				sendTo(r, "one")
				r = offloading(rt, uint64(1000*i))
				r.Assign(Candidate{Address: "one"})
				r.Confirm()
				r.router.upstreams["one"].capacity.reportsCached = true
				r.Reported(1200, 0)
				r.End()
			}
		},
	} {
		for _, capacity := range []int64{0, 100_000} {
			now := time.Unix(1000, 0)
			rt := New(2_000_000, func() time.Time { return now })
			rt.SetCapacity("one", capacity)
			sendTo(offloading(rt, 50_000), "one")
			restart(rt)
			r := offloading(rt, 50_000)
			r.Assign(Candidate{Address: "one"})
			if o := r.Prediction(); o.OnGPU != 0 || o.EverSent != 1024 || o.Longest != 1024 {
				t.Errorf("%s, capacity %d: %+v", name, capacity, o)
			}
			r.End()
			rt.Forget("one")
			r = offloading(rt, 50_000)
			r.Assign(Candidate{Address: "one"})
			if o := r.Prediction(); o.EverSent != 0 || o.Longest != 0 {
				t.Errorf("%s, capacity %d, forgotten: %+v", name, capacity, o)
			}
			r.End()
		}
	}
	now := time.Unix(1000, 0)
	rt := New(2_000_000, func() time.Time { return now })
	rt.SetCapacity("one", 100_000)
	plain := offloading(rt, 1)
	plain.offloadWeights = nil
	sendTo(plain, "one")
	rt.CacheLost("one")
	r := offloading(rt, 1)
	r.Assign(Candidate{Address: "one"})
	if o := r.Prediction(); o.OnGPU != 0 || o.EverSent != 0 {
		t.Errorf("without anything outside its GPU: %+v", o)
	}
}

// Where a prompt was is told, also when that upstream cannot be picked.
func TestOutlookOfWhoIsGone(t *testing.T) {
	now := time.Unix(1000, 0)
	rt := New(2_000_000, func() time.Time { return now })
	sendTo(offloading(rt, 1), "one")
	r := offloading(rt, 1)
	r.Route([]Candidate{{Address: "two"}, {Address: "three"}}, false)
	if o := r.Prediction(); o.Longest != 1024 || o.LongestCandidate != 0 || o.LongestBlocks != 16 || o.LongestAt != "one" {
		t.Errorf("%+v", o)
	}
	r.End()
	r = offloading(rt, 1)
	r.Assign(Candidate{Address: "one"})
	if o := r.Prediction(); o.LongestCandidate != 1024 || o.Longest != 1024 {
		t.Errorf("where it was: %+v", o)
	}
	r.End()
}

// What is known to be in a tier beside the GPU counts as much as it is worth,
// and is not predicted to be cached.
func TestOffloadCounts(t *testing.T) {
	now := time.Unix(1000, 0)
	rt := New(2_000_000, func() time.Time { return now })
	choose := func(one, two *Offload) Decision {
		t.Helper()
		r := offloading(rt, 1)
		_, d := r.Explain([]Candidate{{Address: "one", Offload: one}, {Address: "two", Offload: two}})
		return d
	}
	memory, disk, none := &Offload{CPU: 512, Storage: 512}, &Offload{Storage: 512}, &Offload{}
	if d := choose(none, disk); d.Pick != 1 || d.Cached != 0 {
		t.Errorf("disk against nothing: %+v", d)
	}
	if d := choose(memory, disk); d.Pick != 0 || d.Cached != 0 {
		t.Errorf("memory against disk: %+v", d)
	}
	if d := choose(disk, memory); d.Pick != 1 || d.Cached != 0 {
		t.Errorf("disk against memory: %+v", d)
	}
	if d := choose(&Offload{Storage: 1 << 40}, none); d.Pick != 0 {
		t.Errorf("more than there is: %+v", d)
	}
	r := offloading(rt, 1)
	if d := r.Route([]Candidate{{Address: "one", Offload: disk}}, true); d.Pick != 0 {
		t.Error("what is on disk is left to another policy as if nobody had it")
	}
	r.End()
}

// What an engine takes from outside its GPU says nothing of how large the GPU's
// cache is.
func TestOffloadedIsNotLearned(t *testing.T) {
	limit := func(offloads *[3]float64) int64 {
		now := time.Unix(1000, 0)
		rt := New(2_000_000, func() time.Time { return now })
		rt.SetCapacity("one", 2048)
		for i := range 30 {
			r := offloading(rt, uint64(1000*(i%6)+1)) // each comes again after 6,000 tokens
			r.offloadWeights = offloads
			r.Assign(Candidate{Address: "one"})
			r.Confirm()
			r.FirstToken()
			cached := 1088
			if i < 6 {
				cached = 0
			}
			r.Reported(1200, cached)
			r.End()
		}
		return rt.upstreams["one"].capacity.estimate
	}
	if got := limit(&halves); got != 2048 {
		t.Errorf("from what was elsewhere a capacity of %d was learned", got)
	}
	if got := limit(nil); got <= 2048 {
		t.Errorf("a capacity of %d was learned from what was on the GPU: this proves nothing", got)
	}
}
