// SPDX-License-Identifier: Apache-2.0

package routing

import "testing"

func TestExplainIsWhatRouteDoes(t *testing.T) {
	rt, _ := newTestRouter()
	candidates := []Candidate{{Address: "one"}, {Address: "two", Requests: 2}}
	warm := rt.newTestRequest("abcdef")
	warm.Route(candidates[:1], false)
	warm.Confirm()
	warm.FirstToken()
	warm.End()

	r := rt.newTestRequest("abcdefgh")
	for range 2 { // asking changes nothing
		forecasts, d := r.Explain(candidates)
		if d.Pick != 0 || d.Reason != Hit || d.Cached != 6*64 {
			t.Fatalf("would decide %+v", d)
		}
		one, two := forecasts[0], forecasts[1]
		if one.Address != "one" || one.Cached != 6*64 || one.Prefill <= 0 || one.InFlight != 0 {
			t.Fatalf("the holder: %+v", one)
		}
		if two.Cached != 0 || two.Prefill <= one.Prefill || two.InFlight != 2 {
			t.Fatalf("the other: %+v", two)
		}
	}
	if n := len(rt.upstreams["one"].pending); n != 0 {
		t.Fatalf("%d requests were recorded", n)
	}
	if d := r.Route(candidates, false); d.Pick != 0 || d.Cached != 6*64 {
		t.Fatalf("Route decided otherwise: %+v", d)
	}
	if forecasts, d := r.Explain(nil); forecasts != nil || d.Pick != -1 {
		t.Fatalf("without candidates: %v %+v", forecasts, d)
	}
}
