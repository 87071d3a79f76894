// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
	"github.com/bauxite/caddy-kvaware/kvaware"
)

// planted are values that no output may ever show. They are put together at
// run time, so that no scanner takes this file for a leak.
var Planted = map[string]string{
	"e-mail": "zaphod.planted@heartofgold-mail.com",
	"card":   "4532015" + "112830366",
	"IBAN":   "DE8937040" + "0440532013000",
	"SSN":    "536-" + "22-8726",
	"phone":  "+1 415-" + "555-2671",
	"IP":     "81.2." + "69.160",
	"token":  "gh" + "p_" + "wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx",
}

// plainMarker stands in every planted prompt beside the values: no prompt's
// text may appear anywhere either.
const PlainMarker = "xylophone-quagmire-7791"

func PlantedText() string {
	var b strings.Builder
	b.WriteString(PlainMarker)
	for kind, value := range Planted {
		fmt.Fprintf(&b, " My %s is %s .", kind, value)
	}
	return b.String()
}

// plantedBodies are requests of every kind, good and broken.
func PlantedBodies() map[string]string {
	text := PlantedText()
	quoted := strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%q", text), `"`), `"`)
	return map[string]string{
		"chat":           Chat(text, false),
		"stream":         Chat(text, true),
		"broken":         `{"model":"sim","messages":[{"role":"user","content":"` + quoted + `"}`,
		"number":         `{"model":"sim","messages":` + "4532015" + "112830366" + `}`,
		"wrong type":     `{"model":"sim","messages":"` + quoted + `"}`,
		"duplicate":      `{"model":"sim","messages":[],"messages":[{"role":"user","content":"` + quoted + `"}]}`,
		"trailing":       Chat(text, false) + quoted,
		"not json":       text,
		"model":          `{"model":"` + Planted["e-mail"] + `","messages":[{"role":"user","content":"hi"}]}`,
		"hidden":         `{"model":"sim","user":"` + Planted["e-mail"] + `","metadata":{"x":"` + Planted["card"] + `"},"messages":[{"role":"user","content":"hi"}]}`,
		"key":            `{"model":"sim","` + Planted["e-mail"] + `":1,"messages":[{"role":"user","content":"hi"}]}`,
		"tool arguments": `{"model":"sim","messages":[{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"to\":\"` + Planted["e-mail"] + `\"}"}}]},{"role":"tool","tool_call_id":"c1","content":"` + Planted["IBAN"] + `"}]}`,
		"escaped":        `{"model":"sim","messages":[{"role":"user","content":"zaphod.planted\u0040heartofgold-mail.com"}]}`,
		"invalid utf-8":  "{\"model\":\"sim\",\"messages\":[{\"role\":\"user\",\"content\":\"" + quoted + "\xff\"}]}",
		"deep":           `{"model":"sim","messages":` + strings.Repeat("[", 2000) + `"` + Planted["e-mail"] + `"` + strings.Repeat("]", 2000) + `}`,
		"lone surrogate": `{"model":"sim","messages":[{"role":"user","content":"` + Planted["e-mail"] + ` \ud800"}]}`,
		"token ids":      `{"model":"sim","prompt":[4532015,112830366]}`,
		"embeddings":     `{"model":"sim","input":["` + quoted + `","` + Planted["e-mail"] + `"]}`,
		"anthropic":      `{"model":"sim","max_tokens":8,"system":"` + quoted + `","messages":[{"role":"user","content":[{"type":"text","text":"` + quoted + `"}]}]}`,
		"other":          `{"anything":["` + quoted + `"]}`,
	}
}

var PlantedPaths = []string{
	"/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses", "/v1/embeddings", "/tokenize", "/anything",
}

// TestNothingPlantedComesOut sends prompts full of distinctive values, good
// and broken, and looks for them in all that comes out of the gateway: log
// lines at DEBUG, error bodies, metrics, admin answers, and what engines get.
func TestNothingPlantedComesOut(t *testing.T) {
	Log.Reset()
	engines := StartEngines(t, 2, enginesim.Config{Speed: 100, OutputTokens: 4, Record: 2000})
	g := StartGateway(t, "caddyfile", fmt.Sprintf(`{
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
	}`, Addresses(engines)))

	bodies := PlantedBodies()
	out := map[string]string{}
	status := map[int]int{}
	for name, body := range bodies {
		for _, path := range PlantedPaths {
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
	SendAll(g, bodies)
	if status[200] == 0 || status[400] == 0 {
		t.Fatalf("the requests were not good and broken ones: %v", status)
	}

	out["log"] = Log.String()
	if !strings.Contains(out["log"], `"level":"debug"`) {
		t.Fatal("the log has no debug lines; it proves nothing")
	}
	rec := httptest.NewRecorder()
	promhttp.HandlerFor(Registry(), promhttp.HandlerOpts{}).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	out["metrics"] = rec.Body.String()
	if !strings.Contains(out["metrics"], "caddy_pii_janitor_findings_total") {
		t.Fatal("the metrics do not count findings; they prove nothing")
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
			for kind, value := range Planted {
				if strings.Contains(body, value) {
					t.Errorf("engine %d, request %d to %s: the %s arrived", i, j, r.Path, kind)
				}
			}
		}
	}
	if received == 0 {
		t.Fatal("nothing reached the engines; it proves nothing")
	}
	for where, text := range out {
		for kind, value := range Planted {
			if strings.Contains(text, value) {
				t.Errorf("%s shows the %s", where, kind)
			}
		}
		if strings.Contains(text, PlainMarker) {
			t.Errorf("%s shows the prompt's text", where)
		}
	}
}

// sendTolerant sends bodies to engines that fail in every way; only what comes
// out of the gateway is looked at.
func SendAll(g *Gateway, bodies map[string]string) {
	for _, body := range bodies {
		for _, path := range PlantedPaths {
			resp, err := g.Client.Post(g.URL+path, "application/json", strings.NewReader(body))
			if err == nil {
				resp.Body.Close()
			}
		}
	}
}
