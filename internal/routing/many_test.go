// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"testing"
)

// More upstreams than the tree can tell apart: those it does not know are
// routed to by load, and nothing mixes them up.
func TestMoreUpstreamsThanTheTreeHolds(t *testing.T) {
	rt, _ := newTestRouter()
	for i := range 6000 {
		address := fmt.Sprint("10.0.", i/256, ".", i%256, ":8000")
		r := rt.newTestRequest(fmt.Sprint("prompt ", i))
		if d := r.Route(a(address), false); d.Pick != 0 || d.Cached != 0 {
			t.Fatalf("upstream %d: %+v", i, d)
		}
		r.Confirm()
		r.FirstToken()
		r.End()
	}
	last := "10.0.23.111:8000"
	if n := rt.upstreams[last].queue.requests; n != 0 {
		t.Fatalf("%d requests left at the last one", n)
	}
	r := rt.newTestRequest("prompt 5999")
	if d := r.Route([]Candidate{{Address: last, Requests: 1}, {Address: "10.0.0.0:8000"}}, false); d.Pick < 0 || d.Cached < 0 {
		t.Fatalf("deciding among them: %+v", d)
	}
}
