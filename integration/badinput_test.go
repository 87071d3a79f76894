// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/enginesim"
)

// Bad requests get a clear fixed answer, and never reach an engine.
func TestBadRequests(t *testing.T) {
	engines := startEngines(t, 1, enginesim.Config{Speed: 50})
	g := startGateway(t, "caddyfile", fmt.Sprintf(":8080 {\n pii_janitor {\n max_size 1MB\n }\n reverse_proxy %s {\n lb_policy kv_aware\n }\n}", addresses(engines)))
	for _, c := range []struct {
		name, path, body string
		status           int
	}{
		{"broken JSON", "/v1/chat/completions", `{"model":"m","messages":[{"role":"user","content":"x"`, 400},
		{"not an object", "/v1/chat/completions", `[1,2]`, 400},
		{"messages of a wrong type", "/v1/chat/completions", `{"model":"m","messages":3}`, 400},
		{"no messages", "/v1/chat/completions", `{"model":"m"}`, 400},
		{"duplicate keys", "/v1/completions", `{"prompt":"a","prompt":"b"}`, 400},
		{"too large", "/v1/chat/completions", chat(strings.Repeat("z", 1_000_001), false), 413},
		{"token ids", "/v1/completions", `{"model":"m","prompt":[1,2,3]}`, 400},
		{"not JSON", "/v1/chat/completions", "hello", 400},
		{"not JSON, unknown path", "/upload", "hello", 415},
		{"anthropic", "/v1/messages", `{"model":"m","messages":3}`, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer := g.post(t, c.path, c.body)
			if answer.status != c.status {
				t.Fatalf("status %d, want %d: %s", answer.status, c.status, answer.body)
			}
			var e struct {
				Type  string
				Error struct{ Message, Type string }
			}
			if err := json.Unmarshal([]byte(answer.body), &e); err != nil || e.Error.Message == "" || e.Error.Type == "" {
				t.Fatalf("not an error of the API's shape: %s", answer.body)
			}
			if anthropic := e.Type == "error"; anthropic != (c.path == "/v1/messages") {
				t.Fatalf("the shape of another API: %s", answer.body)
			}
			if again := g.post(t, c.path, c.body); again.body != answer.body {
				t.Fatalf("the text is not fixed:\n%s\n%s", answer.body, again.body)
			}
		})
	}
	if n := engines[0].Stats().Requests; n != 0 {
		t.Fatalf("%d bad requests reached the engine", n)
	}
}

// Without a janitor the policy refuses, and says what to do.
func TestUnscrubbed(t *testing.T) {
	engines := startEngines(t, 1, enginesim.Config{Speed: 50})
	site := ":8080 {\n reverse_proxy %s {\n lb_policy kv_aware {\n unscrubbed %s\n }\n }\n}"
	g := startGateway(t, "caddyfile", fmt.Sprintf(site, addresses(engines), "refuse"))
	answer := g.post(t, "/v1/chat/completions", chat("hello", false))
	if answer.status != http.StatusServiceUnavailable {
		t.Fatalf("status %d", answer.status)
	}
	for _, want := range []string{"pii_janitor", "ahead of reverse_proxy", "unscrubbed fallback"} {
		if !strings.Contains(answer.body, want) {
			t.Errorf("the error does not say %q: %s", want, answer.body)
		}
	}
	if n := engines[0].Stats().Requests; n != 0 {
		t.Fatal("the unscrubbed prompt reached the engine")
	}
	if got := g.get(t, "/v1/models"); got.status != http.StatusOK {
		t.Fatalf("a request without a body: status %d", got.status)
	}
	g.reload(t, "caddyfile", fmt.Sprintf(site, addresses(engines), "fallback"))
	if answer := g.post(t, "/v1/chat/completions", chat("hello", false)); answer.status != http.StatusOK {
		t.Fatalf("unscrubbed fallback: status %d", answer.status)
	}
	if metric(t, "caddy_kv_aware_tree_blocks") != 0 {
		t.Fatal("an unscrubbed prompt was hashed")
	}
}
