// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
)

func TestPrediction(t *testing.T) {
	now := time.Unix(1000, 0)
	rt := New(2_000_000, func() time.Time { return now })
	rt.SetCapacity("one", 1024)
	serveOn(offloading(rt, 1), "one")
	again := offloading(rt, 1)
	again.Assign(Candidate{Address: "one"})
	if o := again.Prediction(); o.OnGPU != 1024 || o.EverSent != 1024 || o.Longest != 1024 || o.PerToken <= 0 {
		t.Errorf("a prompt it holds: %+v", o)
	}
	again.End()
	serveOn(offloading(rt, 100), "one") // evicts the other
	evicted := offloading(rt, 1)
	evicted.Assign(Candidate{Address: "one"})
	if o := evicted.Prediction(); o.OnGPU >= 512 || o.EverSent != 1024 || o.Longest != 1024 {
		t.Errorf("an evicted prompt: %+v", o)
	}
	evicted.End()
	elsewhere := offloading(rt, 1)
	elsewhere.Assign(Candidate{Address: "two", Offload: &Offload{CPU: 256, Storage: 512}})
	if o := elsewhere.Prediction(); o.OnGPU != 0 || o.EverSent != 0 || o.Longest != 1024 || o.Offload != (Offload{CPU: 256, Storage: 512}) {
		t.Errorf("an upstream that never had it: %+v", o)
	}
	elsewhere.End()
	cold := offloading(rt, 500)
	cold.Assign(Candidate{Address: "two"})
	if o := cold.Prediction(); o.OnGPU != 0 || o.EverSent != 0 || o.Longest != 0 {
		t.Errorf("a new prompt: %+v", o)
	}
}

// Blocks on disk or in CPU memory, according to events, are not on the GPU, whatever
// their weight: they can be staged.
func TestPredictionByEvents(t *testing.T) {
	rt, _ := newTestRouter()
	rt.link(t, "abcdef")
	feed := rt.followRanks("one", 1)[0]
	look := func() Prediction {
		t.Helper()
		r := rt.followedRequest("abcdef")
		r.offloadWeights = &tierWeights
		defer r.End()
		r.Assign(Candidate{Address: "one"})
		o := r.Prediction()
		return Prediction{OnGPU: o.OnGPU, EverSent: o.EverSent, Offload: o.Offload}
	}
	publish(t, feed, kvevents.GPU, idsOf("a"))
	if o, want := look(), (Prediction{OnGPU: 64, EverSent: 64}); o != want {
		t.Errorf("all on the GPU: %+v, want %+v", o, want)
	}
	publish(t, feed, kvevents.CPU, idsOf("abc"))
	publish(t, feed, kvevents.Disk, idsOf("abcd"))
	rt.recordSentTo("one", "abcde") // long ago
	if o, want := look(), (Prediction{OnGPU: 64, EverSent: 320, Offload: Offload{CPU: 192, Storage: 256}}); o != want {
		t.Errorf("in all tiers: %+v, want %+v", o, want)
	}
}

// The prediction names the upstream that has most of a prompt, also when it is no
// candidate.
func TestPredictionNamesTheLongestUpstream(t *testing.T) {
	now := time.Unix(1000, 0)
	rt := New(2_000_000, func() time.Time { return now })
	serveOn(offloading(rt, 1), "one")
	r := offloading(rt, 1)
	r.Route([]Candidate{{Address: "two"}, {Address: "three"}}, false)
	if o := r.Prediction(); o.Longest != 1024 || o.LongestCandidate != 0 || o.LongestBlocks != 16 || o.LongestAt != "one" {
		t.Errorf("%+v", o)
	}
	r.End()
	r = offloading(rt, 1)
	r.Assign(Candidate{Address: "one"})
	if o := r.Prediction(); o.LongestCandidate != 1024 || o.Longest != 1024 {
		t.Errorf("the upstream that had it: %+v", o)
	}
	r.End()
}
