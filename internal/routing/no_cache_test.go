// SPDX-License-Identifier: Apache-2.0

package routing

import "testing"

// A prompt that its engine computes as a whole is predicted to be cached nowhere, goes
// where it is done soonest, teaches nothing, and can be hit by the next one.
func TestAPromptThatReadsNoCache(t *testing.T) {
	rt, _ := newTestRouter()
	two := []Candidate{{Address: "one"}, {Address: "two"}}
	ask := func(noCache bool, reported int) (Decision, Forecast) {
		r := rt.newTestRequest("abcdefgh")
		r.noCache = noCache
		forecasts, _ := r.Explain(two)
		d := r.Route(two, false)
		r.Confirm()
		r.Reported(r.Tokens(), reported)
		r.End()
		return d, forecasts[0]
	}
	if d, _ := ask(true, 0); d.Cached != 0 || d.Reason != Cold {
		t.Fatalf("first: %+v", d)
	}
	d, _ := ask(false, 8*64-1)
	if d.Reason != Hit || d.Cached == 0 {
		t.Fatalf("what it has computed is not predicted: %+v", d)
	}
	holder := d.Pick
	rt.SetCapacity(two[holder].Address, 1<<20)
	for range 2 * restartAfter {
		if d, f := ask(true, 0); d.Cached != 0 || d.Reason != Cold || f.Cached != 0 {
			t.Fatalf("predicted %+v, %+v", d, f)
		}
	}
	if d, _ := ask(false, 8*64-1); d.Reason != Hit || d.Pick != holder && d.Cached == 0 {
		t.Fatalf("prompts without cache emptied the record: %+v", d)
	}
	if got := rt.upstreams[two[holder].Address].capacity; got.missesInRow != 0 || got.doubts != 0 {
		t.Fatalf("learned %+v", got)
	}
}

// Engines that render a prompt in another way than expected are not taken for
// restarted.
func TestADoubtfulPromptTeachesNothing(t *testing.T) {
	rt, _ := newTestRouter()
	ask := func(doubtful bool, reported int) Decision {
		r := rt.newTestRequest("abcdefgh")
		r.doubtful = doubtful
		d := r.Route(a("one"), false)
		r.Confirm()
		r.Reported(r.Tokens(), reported)
		r.End()
		return d
	}
	ask(false, 0)
	want := ask(false, 8*64-1).Cached
	for range 2 * restartAfter {
		ask(true, 0)
	}
	if got := ask(false, 8*64-1); got.Cached != want || want == 0 {
		t.Fatalf("predicted %d cached tokens, before %d", got.Cached, want)
	}
}
