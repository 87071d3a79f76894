// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
)

var tierWeights = kvevents.TierWeights{1, 0.8, 0.3}

// offloading returns a request for a prompt of 16 blocks of 64 tokens, to engines that
// keep blocks outside their GPUs.
func offloading(rt *Router, from uint64) *Request {
	chain := make([]uint64, 16)
	for i := range chain {
		chain[i] = from + uint64(i)
	}
	return rt.NewRequest(Prompt{Chain: chain, Tokens: 1200, BlockTokens: 64, OffloadWeights: &tierWeights})
}

func serveOn(r *Request, address string) {
	r.Assign(Candidate{Address: address})
	r.Confirm()
	r.End()
}

// A restarted engine holds nothing on its GPU. Blocks that LMCache keeps beside it
// are still there; without LMCache nothing is.
func TestPredictionAfterARestart(t *testing.T) {
	for name, restart := range map[string]func(*Router){
		"told": func(rt *Router) {
			if !rt.CacheLost("one") || rt.CacheLost("nobody") {
				t.Error("CacheLost reports the wrong upstreams as known")
			}
		},
		"seen": func(rt *Router) {
			for i := range restartAfter {
				r := offloading(rt, uint64(1000*i))
				serveOn(r, "one")
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
			serveOn(offloading(rt, 50_000), "one")
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
	serveOn(plain, "one")
	rt.CacheLost("one")
	r := offloading(rt, 1)
	r.Assign(Candidate{Address: "one"})
	if o := r.Prediction(); o.OnGPU != 0 || o.EverSent != 0 {
		t.Errorf("without anything outside its GPU: %+v", o)
	}
}

// Blocks in a tier beside the GPU count with that tier's weight, and are predicted to
// be cached: the engine loads them.
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
	if d := choose(none, disk); d.Pick != 1 || d.Cached != 512 || d.External != 512 {
		t.Errorf("disk against nothing: %+v", d)
	}
	if d := choose(memory, disk); d.Pick != 0 || d.Cached != 512 || d.External != 512 {
		t.Errorf("memory against disk: %+v", d)
	}
	if d := choose(disk, memory); d.Pick != 1 || d.Cached != 512 || d.External != 512 {
		t.Errorf("disk against memory: %+v", d)
	}
	if d := choose(&Offload{Storage: 1 << 40}, none); d.Pick != 0 {
		t.Errorf("more than there is: %+v", d)
	}
	r := offloading(rt, 1)
	if d := r.Route([]Candidate{{Address: "one", Offload: disk}}, true); d.Pick != 0 {
		t.Error("a prompt on disk is left to another policy as if it were cold")
	}
	r.End()
}

// Blocks that an engine loads from outside its GPU say nothing about the size of the
// GPU's cache.
func TestOffloadedIsNotLearned(t *testing.T) {
	limit := func(offloads *kvevents.TierWeights) int64 {
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
	if got := limit(&tierWeights); got != 2048 {
		t.Errorf("a capacity of %d was learned from blocks outside the GPU", got)
	}
	if got := limit(nil); got <= 2048 {
		t.Errorf("a capacity of %d was learned from blocks on the GPU: the test proves nothing", got)
	}
}

// TestExternalIsPredicted: what an engine was sent and its GPU has lost is predicted to
// be loaded from outside, in whole chunks, for as long as answers do not refute it.
func TestExternalIsPredicted(t *testing.T) {
	now := time.Unix(1000, 0)
	rt := New(2_000_000, func() time.Time { return now })
	serveOn(offloading(rt, 1), "one")
	ask := func(candidate Candidate) Decision {
		r := offloading(rt, 1)
		defer r.End()
		candidate.Address = "one"
		return r.Route([]Candidate{candidate}, false)
	}
	if d := ask(Candidate{OffloadChunk: 256}); d.Cached != 1024 || d.External != 0 {
		t.Errorf("on the GPU: %+v", d)
	}
	rt.CacheLost("one")
	for chunk, want := range map[int]int{0: 1024, 64: 1024, 100: 1000, 300: 900, 2048: 0} {
		d := ask(Candidate{OffloadChunk: chunk})
		if d.Cached != want || d.External != want || (d.Reason == Cold) != (want == 0) {
			t.Errorf("chunks of %d: %+v, want %d tokens", chunk, d, want)
		}
		rt.CacheLost("one")
	}
	if d := ask(Candidate{Offload: &Offload{CPU: 256, Storage: 512}}); d.Cached != 512 || d.External != 512 {
		t.Errorf("reported: %+v", d)
	}
	// A conversation goes on after the turn that was looked up.
	if d := ask(Candidate{OffloadChunk: 64, Offload: &Offload{Storage: 512, Whole: true}}); d.Cached != 1024 || d.External != 1024 {
		t.Errorf("reported up to the turn before: %+v", d)
	}
	report := func(cached int) {
		rt.CacheLost("one")
		r := offloading(rt, 1)
		r.Assign(Candidate{Address: "one", OffloadChunk: 256})
		r.Confirm()
		r.Reported(1200, cached)
		r.End()
		rt.CacheLost("one")
	}
	report(1024)
	report(0)
	if d := ask(Candidate{OffloadChunk: 256}); d.Cached != 1024 {
		t.Errorf("after one of two was not found: %+v", d)
	}
	report(0)
	report(0)
	if d := ask(Candidate{OffloadChunk: 256}); d.Cached != 0 || d.External != 0 {
		t.Errorf("after three of four were not found: %+v", d)
	}
	for range 8 {
		report(1024)
	}
	if d := ask(Candidate{OffloadChunk: 256}); d.Cached != 1024 {
		t.Errorf("after they were found again: %+v", d)
	}
}

// TestExternalIsNoticed: an engine that reports tokens from outside its GPU is treated
// as if the config named its cache.
func TestExternalIsNoticed(t *testing.T) {
	now := time.Unix(1000, 0)
	rt := New(2_000_000, func() time.Time { return now })
	request := func() *Request {
		r := offloading(rt, 1)
		r.offloadWeights = nil
		return r
	}
	for _, noticed := range []bool{false, true} {
		if noticed {
			rt.SetExternalCache("one")
		}
		serveOn(request(), "one")
		rt.CacheLost("one")
		r := request()
		if d := r.Route(a("one"), false); (d.Cached == 1024 && d.External == 1024) != noticed {
			t.Errorf("noticed %v: %+v", noticed, d)
		}
		r.End()
	}
}

// TestExternalAddsNoEnd: the end of a prompt, shorter than a chunk, is never loaded.
func TestExternalAddsNoEnd(t *testing.T) {
	rt, _ := newTestRouter()
	rt.SetExternalCache("one")
	rt.link(t, "abcde")
	publish(t, rt.followRanks("one", 1)[0], kvevents.GPU, idsOf("abcde"))
	rt.recordSentTo("one", "abcde")
	wantMatch(t, rt.followedRequest("abcde"), "one", prefixMatch{tokens: 304, weighted: 304, byEvents: true, stored: 304})
}

// TestExternalForecast: loading is neither free nor prefill. The choice compares the sum
// of all parts.
func TestExternalForecast(t *testing.T) {
	now := time.Unix(1000, 0)
	rt := New(2_000_000, func() time.Time { return now })
	r := offloading(rt, 1)
	forecasts, _ := r.Explain([]Candidate{{Address: "one", Offload: &Offload{CPU: 500, Storage: 1000}}, {Address: "two"}})
	one, two := forecasts[0], forecasts[1]
	if one.Cached != 1000 || one.External != 1000 || one.Prefill != 200*startCost || one.Load != (100+350)*startCost {
		t.Errorf("%+v", one)
	}
	if two.Cached != 0 || two.External != 0 || two.Prefill != 1200*startCost || two.Load != 0 {
		t.Errorf("%+v", two)
	}
}

// TestLoadingIsNotPrefill: the time to load blocks does not make computed tokens look
// more expensive.
func TestLoadingIsNotPrefill(t *testing.T) {
	now := time.Unix(1000, 0)
	rt := New(2_000_000, func() time.Time { return now })
	for range 50 {
		r := offloading(rt, 1)
		r.stream = true
		r.Assign(Candidate{Address: "one", Offload: &Offload{Storage: 1024}})
		rt.upstreams["one"].capacity.reportsCached = true
		r.Confirm()
		now = now.Add((1200 - 1024) * startCost).Add(1024 * 7 / 10 * startCost) // a token on disk costs 0.7 of a computed one
		r.FirstToken()
		r.Reported(1200, 1024)
		r.End()
		rt.CacheLost("one")
		rt.CacheLost("one")
		now = now.Add(time.Minute)
	}
	if c := rt.upstreams["one"].cost.perToken(startCost); c < startCost*98/100 || c > startCost*102/100 {
		t.Errorf("a token costs %v, want %v", c, startCost)
	}
}

// TestExternalLeavesEventsTrusted: cached tokens that come from outside the GPU do not
// contradict events, which say nothing about them.
func TestExternalLeavesEventsTrusted(t *testing.T) {
	for name, weights := range map[string]*kvevents.TierWeights{"with": &tierWeights, "without": nil} {
		rt, _ := newTestRouter()
		rt.link(t, "abcd")
		feed := rt.followRanks("one", 1)[0]
		publish(t, feed, kvevents.GPU, idsOf("xyz"))
		rt.recordSentTo("one", "abcd")
		request := func() *Request {
			r := rt.followedRequest("abcd")
			r.offloadWeights = weights
			return r
		}
		for range 2 * distrustAfter {
			r := request()
			r.Route(a("one"), false)
			r.Confirm()
			r.FirstToken()
			r.Reported(257, 256)
			r.End()
		}
		want := prefixMatch{tokens: 255, weighted: 76, byEvents: true, offloaded: 255, assumed: 255}
		if weights == nil {
			want = prefixMatch{tokens: 255, weighted: 255} // by history: the events are distrusted
		}
		t.Log(name, "anything outside the GPU")
		wantMatch(t, request(), "one", want)
	}
}
