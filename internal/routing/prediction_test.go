// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
)

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
