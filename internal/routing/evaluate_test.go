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
		t.Fatalf("picked %d: Caddy counts three requests there", d.Pick)
	}
}

// Decisions take the upstreams of the one before where they can, but never one
// that has been removed, or stands in another place.
func TestUpstreamsAreFoundAgain(t *testing.T) {
	rt, c := newTestRouter()
	targets := []Candidate{{Address: "one"}, {Address: "two"}, {Address: "three"}}
	look := func(targets []Candidate) {
		t.Helper()
		rt.newTestRequest("abc").Explain(targets)
		if len(rt.scratch.upstreams) != len(targets) {
			t.Fatalf("%d upstreams for %d targets", len(rt.scratch.upstreams), len(targets))
		}
		for i, u := range rt.scratch.upstreams {
			if u != rt.upstreams[targets[i].Address] {
				t.Errorf("%s: another upstream, or one that is gone", targets[i].Address)
			}
		}
	}
	look(targets)
	look(targets)
	look(targets[1:])
	look([]Candidate{targets[2], targets[0]})
	look(targets)
	c.add(2 * upstreamTTL)
	if gone := rt.Sweep(); len(gone) != 3 {
		t.Fatalf("%v are gone", gone)
	}
	look(targets)
	look(nil)
	look(targets)
}
