// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// ejectSite ejects for an hour after one failure.
const ejectSite = `:8080 {
	pii_janitor
	reverse_proxy %s {
		lb_policy kv_aware {
			eject {
				failures 1
				base 1h
				max 1h
			}
		}
	}
}`

// failureState returns the state of an engine in the admin API and in explain, and
// whether explain says that it is left out.
func failureState(t *testing.T, e *enginesim.Engine) (admin, explained string, leftOut bool) {
	t.Helper()
	var report struct {
		Failures struct {
			State    string
			LastKind string `json:"last_kind"`
		}
	}
	_, answer := harness.Admin(t, http.MethodGet, "/kv_aware/upstreams/"+e.Addr(), "")
	if err := json.Unmarshal([]byte(answer), &report); err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	var forecast struct {
		Upstreams []struct {
			Address, State string
			LeftOut        bool `json:"left_out"`
		}
	}
	_, answer = harness.Admin(t, http.MethodPost, "/kv_aware/explain", harness.Chat("what now?", false))
	if err := json.Unmarshal([]byte(answer), &forecast); err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	for _, u := range forecast.Upstreams {
		if u.Address == e.Addr() {
			explained, leftOut = u.State, u.LeftOut
		}
	}
	return report.Failures.State + " " + report.Failures.LastKind, explained, leftOut
}

// TestEjectionIsShown checks that an ejection shows in the admin API, in explain, in
// the metrics and in the log; that it survives a reload; and that deleting the
// upstream's state ends it.
func TestEjectionIsShown(t *testing.T) {
	engines := harness.StartEngines(t, 2, enginesim.Config{Speed: 50})
	site := fmt.Sprintf(ejectSite, harness.Addresses(engines))
	g := harness.StartGateway(t, "caddyfile", site)
	bad := engines[0]
	if err := bad.Fault(enginesim.Fault{Kind: enginesim.Status, Status: 500, Count: 1}); err != nil {
		t.Fatal(err)
	}
	harness.Log.Reset()
	for range 10 {
		g.Must(t, harness.Chat("hello", false))
	}
	if n := bad.Stats().Requests; n > 1 {
		t.Errorf("the ejected engine got %d requests", n)
	}
	check := func(when string) {
		t.Helper()
		admin, explained, leftOut := failureState(t, bad)
		if admin != "ejected status" || explained != "ejected" || !leftOut {
			t.Errorf("%s: admin %q, explain %q, left out %v", when, admin, explained, leftOut)
		}
		if value, ok := harness.UpstreamMetric(t, "caddy_kv_aware_ejected", bad.Addr()); !ok || value != 1 {
			t.Errorf("%s: ejected is %v", when, value)
		}
		if value, _ := harness.UpstreamMetric(t, "caddy_kv_aware_failures_total", bad.Addr()); value != 1 {
			t.Errorf("%s: failures_total is %v", when, value)
		}
	}
	check("after the failure")
	if got := strings.Count(harness.Log.String(), "the upstream is ejected because it fails"); got != 1 {
		t.Errorf("%d log lines, want one for the change", got)
	}
	g.Reload(t, "caddyfile", site)
	for range 3 {
		g.Must(t, harness.Chat("hello again", false))
	}
	check("after a reload")
	harness.Admin(t, http.MethodDelete, "/kv_aware/upstreams/"+bad.Addr(), "")
	if _, explained, leftOut := failureState(t, bad); explained != "ready" || leftOut {
		t.Errorf("after it was forgotten: %q, left out %v", explained, leftOut)
	}
}
