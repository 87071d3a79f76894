// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"
	"time"
)

func TestTheLastTokenIsNeverCached(t *testing.T) {
	rt, _ := newTestRouter()
	prompt := Prompt{Chain: chainOf("abcd"), Tokens: 256, BlockTokens: 64}
	rt.NewRequest(prompt).Route(a("n"), false)
	if d := rt.NewRequest(prompt).Route(a("n"), false); d.Cached != 255 {
		t.Fatalf("%d of 256 tokens cached", d.Cached)
	}
}

func TestRequestsOfOthersCountAsLoad(t *testing.T) {
	rt, _ := newTestRouter()
	d := rt.newTestRequest("ab").Route([]Candidate{{Address: "one", Requests: 3}, {Address: "two"}}, false)
	if d.Pick != 1 {
		t.Fatalf("picked %d, where Caddy counts three requests", d.Pick)
	}
}

func TestPenaltyIsScoredAndNotPredicted(t *testing.T) {
	rt, _ := newTestRouter()
	warm := rt.newTestRequest("abcdef")
	warm.Route(a("one"), false)
	warm.Confirm()
	warm.FirstToken()
	warm.End()
	candidates := []Candidate{{Address: "one", Penalty: time.Second}, {Address: "two", Penalty: -time.Hour}}
	r := rt.newTestRequest("abcdef")
	forecasts, d := r.Explain(candidates)
	if one := forecasts[0]; one.Penalty != time.Second || one.Wait != 0 || one.Cached == 0 || one.Prefill >= time.Second {
		t.Errorf("the holder: %+v", one)
	}
	if two := forecasts[1]; two.Penalty != 0 || two.Wait != 0 {
		t.Errorf("a penalty below 0: %+v", two)
	}
	if d.Pick != 1 || d.Reason != Load {
		t.Errorf("would decide %+v", d)
	}
	if d := r.Route(candidates, false); d.Pick != 1 || d.Reason != Load {
		t.Errorf("decided %+v", d)
	}
	if got := r.Prediction(); got.Wait != 0 {
		t.Errorf("predicted %+v", got)
	}
	if again := rt.newTestRequest("abcdef"); again.Assign(candidates[0]).Pick != 0 {
		t.Error("another policy's pick was not kept")
	}
}

// A decision reuses the upstreams of the one before, but never one that was removed
// or stands in another place.
func TestUpstreamsAreFoundAgain(t *testing.T) {
	rt, c := newTestRouter()
	candidates := []Candidate{{Address: "one"}, {Address: "two"}, {Address: "three"}}
	look := func(candidates []Candidate) {
		t.Helper()
		rt.newTestRequest("abc").Explain(candidates)
		if len(rt.scratch.upstreams) != len(candidates) {
			t.Fatalf("%d upstreams for %d candidates", len(rt.scratch.upstreams), len(candidates))
		}
		for i, u := range rt.scratch.upstreams {
			if u != rt.upstreams[candidates[i].Address] {
				t.Errorf("%s: another upstream, or a removed one", candidates[i].Address)
			}
		}
	}
	look(candidates)
	look(candidates)
	look(candidates[1:])
	look([]Candidate{candidates[2], candidates[0]})
	look(candidates)
	c.add(2 * upstreamTTL)
	if gone := rt.Sweep(); len(gone) != 3 {
		t.Fatalf("%v are gone", gone)
	}
	look(candidates)
	look(nil)
	look(candidates)
}
