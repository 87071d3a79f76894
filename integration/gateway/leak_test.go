// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
	"github.com/bauxite/caddy-kvaware/kvaware"
)

// TestNothingPlantedComesOut sends prompts full of planted values, good and
// broken, and searches all output of the gateway for them: the log at DEBUG, error
// bodies, metrics, admin answers, and requests to engines.
func TestNothingPlantedComesOut(t *testing.T) {
	harness.Log.Reset()
	engines := harness.StartEngines(t, 2, enginesim.Config{Speed: 100, OutputTokens: 4, Record: 2000})
	g := harness.StartGateway(t, "caddyfile", fmt.Sprintf(`{
		debug
	}
	:8080 {
		log
		pii_janitor
		reverse_proxy %s {
			lb_policy kv_aware
			lb_retries 1
			lb_retry_match `+"`{rp.status_code} >= 500`"+`
		}
		handle_errors {
			respond "{err.message} {err.status_text}" {err.status_code}
		}
	}`, harness.Addresses(engines)))

	bodies := harness.PlantedBodies()
	out := map[string]string{}
	status := map[int]int{}
	for name, body := range bodies {
		for _, path := range harness.PlantedPaths {
			answer := g.Post(t, path, body)
			status[answer.Status]++
			if answer.Status >= 400 {
				out["error body of "+name+" to "+path] = answer.Body
			}
		}
	}
	for _, e := range engines {
		if err := e.Fault(enginesim.Fault{Kind: enginesim.Status, Status: 500, Count: 40}, enginesim.Fault{Kind: enginesim.Reset, Skip: 40, Count: 40}, enginesim.Fault{Kind: enginesim.Cut, Chunks: 1, Skip: 80, Count: 20}); err != nil {
			t.Fatal(err)
		}
	}
	harness.SendAll(g, bodies)
	if status[200] == 0 || status[400] == 0 {
		t.Fatalf("there were not both good and broken requests: %v", status)
	}

	out["log"] = harness.Log.String()
	if !strings.Contains(out["log"], `"level":"debug"`) {
		t.Fatal("the log has no debug lines: this proves nothing")
	}
	rec := httptest.NewRecorder()
	promhttp.HandlerFor(harness.Registry(), promhttp.HandlerOpts{}).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	out["metrics"] = rec.Body.String()
	if !strings.Contains(out["metrics"], "caddy_pii_janitor_findings_total") {
		t.Fatal("the metrics count no findings: this proves nothing")
	}
	for _, route := range (kvaware.Admin{}).Routes() {
		rec := httptest.NewRecorder()
		if err := route.Handler.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, route.Pattern, nil)); err != nil {
			out["admin error "+route.Pattern] = err.Error()
		}
		out["admin "+route.Pattern] = rec.Body.String()
		if !strings.HasSuffix(route.Pattern, "/explain") {
			continue
		}
		for name, body := range bodies {
			rec := httptest.NewRecorder()
			if err := route.Handler.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, route.Pattern, strings.NewReader(body))); err != nil {
				out["admin error of explaining "+name] = err.Error()
			}
			out["admin explaining "+name] = rec.Body.String()
		}
	}
	received := 0
	for i, e := range engines {
		for j, r := range e.Received() {
			received++
			body := string(r.Body)
			if body == bodies["model"] || body == bodies["number"] {
				continue // a model's name and bare numbers are not scanned: docs/scrubbing.md
			}
			for kind, value := range harness.Planted {
				if strings.Contains(body, value) {
					t.Errorf("engine %d, request %d to %s: the %s arrived", i, j, r.Path, kind)
				}
			}
		}
	}
	if received == 0 {
		t.Fatal("nothing reached the engines: this proves nothing")
	}
	for where, text := range out {
		for kind, value := range harness.Planted {
			if strings.Contains(text, value) {
				t.Errorf("%s shows the %s", where, kind)
			}
		}
		if strings.Contains(text, harness.PlainMarker) {
			t.Errorf("%s shows the prompt's text", where)
		}
	}
}
