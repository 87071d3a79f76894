// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"testing"
)

// A new upstream must not be sent every cold prompt until it has caught up.
func TestNewcomersStartLevel(t *testing.T) {
	rt, _ := newTestRouter()
	for i := range 6 {
		r := rt.newTestRequest(fmt.Sprint("prompt", i))
		r.Route(a("old"), false)
		r.Confirm()
		r.End()
	}
	r := rt.newTestRequest("x")
	r.Route(a("new"), false)
	if got, want := rt.upstreams["new"].footprint, rt.upstreams["old"].footprint; got < want {
		t.Fatalf("a new upstream starts at %d, the others are at %d", got, want)
	}
}
