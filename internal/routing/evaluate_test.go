// SPDX-License-Identifier: Apache-2.0

package routing

import "testing"

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
