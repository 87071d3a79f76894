// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"encoding/json"
	"net/http"
	"runtime/pprof"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
)

// checkNothingIsLeft waits until no request is under way anywhere, and checks
// that none has left anything behind: a reservation at an upstream, memory of the
// janitor, or a goroutine that serves it.
func checkNothingIsLeft(t *testing.T) {
	t.Helper()
	var left string
	if !harness.Soon(func() bool { left = reserved(t); return left == "" }) {
		t.Errorf("reservations are left: %s", left)
	}
	if !harness.Soon(func() bool { return harness.Metric(t, "caddy_pii_janitor_in_flight_bytes") == 0 }) {
		t.Errorf("%v bytes of requests are left", harness.Metric(t, "caddy_pii_janitor_in_flight_bytes"))
	}
	if !harness.Soon(func() bool { left = serving(); return left == "" }) {
		t.Errorf("a goroutine still serves a request:\n%s", left)
	}
}

// serving returns the stacks of the goroutines that serve a request.
func serving() string {
	return stacks(func(stack string) bool { return strings.Contains(stack, "janitor.(*Handler).ServeHTTP") })
}

// reserved returns the upstreams that have reservations, as JSON.
func reserved(t *testing.T) string {
	var all []struct {
		Address  string
		Requests int
		WaitMS   float64 `json:"wait_ms"`
	}
	_, answer := harness.Admin(t, http.MethodGet, "/kv_aware/upstreams", "")
	if err := json.Unmarshal([]byte(answer), &all); err != nil {
		t.Fatal(err)
	}
	busy := all[:0]
	for _, u := range all {
		if u.Requests != 0 || u.WaitMS != 0 {
			busy = append(busy, u)
		}
	}
	if len(busy) == 0 {
		return ""
	}
	text, _ := json.Marshal(busy)
	return string(text)
}

// checkStopped checks that a Caddy that has stopped leaves no goroutine of the
// plugin behind.
func checkStopped(t *testing.T) {
	t.Helper()
	var left string
	ours := func(stack string) bool {
		return strings.Contains(stack, "bauxite/caddy-kvaware/") && !strings.Contains(stack, "/internal/sim/") && !strings.Contains(stack, "/integration/")
	}
	if !harness.Soon(func() bool { left = stacks(ours); return left == "" }) {
		t.Errorf("after Caddy has stopped, goroutines are left:\n%s", left)
	}
}

// stacks returns the stacks of this process's goroutines that fit.
func stacks(fits func(stack string) bool) string {
	var all, found strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&all, 2)
	for stack := range strings.SplitSeq(all.String(), "\n\n") {
		if fits(stack) {
			found.WriteString(stack + "\n\n")
		}
	}
	return found.String()
}
