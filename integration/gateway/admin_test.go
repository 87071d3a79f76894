// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// adminJSON is a config for the admin API.
const adminJSON = `{
	"admin": {"listen": "%s", "config": {"persist": false}},
	"apps": {
		"tls": {"disable_storage_check": true, "disable_storage_clean": true},
		"kv_aware": {"memory_limit": 20000000},
		"http": {"servers": {"llm": {"listen": ["127.0.0.1:0"], "automatic_https": {"disable": true}, "routes": [{"handle": [
			{"handler": "pii_janitor", "mode": "placeholder", "restore": true},
			{"handler": "reverse_proxy",
			 "upstreams": [{"dial": "%s"}, {"dial": "%s"}],
			 "load_balancing": {"selection_policy": {"policy": "kv_aware", "radix_depth": %s, "fallback": {"policy": "%s"}}}}
		]}]}}}
	}
}`

// The admin API loads JSON, refuses wrong configs, shows the index and forgets
// upstreams.
func TestAdminAPI(t *testing.T) {
	engines := harness.StartEngines(t, 2, enginesim.Config{Speed: 50})
	admin := harness.FreeAddress(t)
	config := func(depth, fallback string) string {
		return fmt.Sprintf(adminJSON, admin, engines[0].Addr(), engines[1].Addr(), depth, fallback)
	}
	if err := caddy.Load([]byte(fmt.Sprintf(`{"admin": {"listen": "%s", "config": {"persist": false}}}`, admin)), true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	// A reload closes the connections to the admin endpoint, so none is kept.
	client := harness.NewClient(t)
	client.Transport.(*http.Transport).DisableKeepAlives = true
	call := func(method, path, body string) (int, string) {
		t.Helper()
		r, err := http.NewRequest(method, "http://"+admin+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(answer)
	}

	if status, _ := call("GET", "/kv_aware/tree", ""); status != http.StatusNotFound {
		t.Fatalf("without kv_aware in the config: status %d", status)
	}
	if status, answer := call("POST", "/load", config("0", "least_busy")); status != http.StatusOK {
		t.Fatalf("loading: status %d, %s", status, answer)
	}
	for _, wrong := range []struct{ depth, fallback, says string }{
		{"-1", "least_conn", "radix_depth takes a number of blocks, 0 or more"},
		{"0", "fastest", "loading the fallback policy"},
	} {
		if status, answer := call("POST", "/load", config(wrong.depth, wrong.fallback)); status != http.StatusBadRequest || !strings.Contains(answer, wrong.says) {
			t.Fatalf("a wrong config: status %d, %s", status, answer)
		}
	}

	status, answer := call("POST", "/kv_aware/explain", harness.Chat("hello", false))
	if status != http.StatusOK || !strings.Contains(answer, engines[0].Addr()) || !strings.Contains(answer, engines[1].Addr()) {
		t.Fatalf("explaining before any request: status %d, %s", status, answer)
	}
	g := &harness.Gateway{URL: harness.ServerURL(t), Client: client}
	text := strings.Repeat("A prompt that is long enough for a few blocks. ", 50)
	for range 2 {
		if answer := g.Post(t, "/v1/chat/completions", harness.Chat(text, false)); answer.Status != http.StatusOK {
			t.Fatalf("status %d", answer.Status)
		}
	}
	var tree struct {
		Blocks, Upstreams int
		Bytes             int64
		Limit             int64 `json:"memory_limit"`
	}
	status, answer = call("GET", "/kv_aware/tree", "")
	if err := json.Unmarshal([]byte(answer), &tree); err != nil || status != http.StatusOK {
		t.Fatalf("status %d: %s", status, answer)
	}
	if tree.Blocks == 0 || tree.Upstreams != 2 || tree.Limit != 20_000_000 || tree.Bytes > tree.Limit {
		t.Fatalf("the tree: %+v", tree)
	}
	explainedRequests(t, call, engines, text)
	if status, _ := call("DELETE", "/kv_aware/upstreams/"+engines[0].Addr(), ""); status != http.StatusOK {
		t.Fatalf("forgetting an upstream: status %d", status)
	}
	_, answer = call("GET", "/kv_aware/tree", "")
	if err := json.Unmarshal([]byte(answer), &tree); err != nil || tree.Blocks != 0 {
		t.Fatalf("after the only holder was forgotten: %s", answer)
	}
}

// explainedRequests asks where requests would go, without sending them.
func explainedRequests(t *testing.T, call func(method, path, body string) (int, string), engines []*enginesim.Engine, text string) {
	t.Helper()
	before := engines[0].Stats().Served + engines[1].Stats().Served
	type explanation struct {
		Upstream, Reason string
		PromptTokens     int `json:"prompt_tokens"`
		Findings         int
		Upstreams        []struct {
			Address      string
			CachedTokens int     `json:"cached_tokens"`
			TTFT         float64 `json:"ttft_ms"`
		}
	}
	var e explanation
	ask := func(query, body string) {
		t.Helper()
		e = explanation{}
		status, answer := call("POST", "/kv_aware/explain"+query, body)
		if err := json.Unmarshal([]byte(answer), &e); err != nil || status != http.StatusOK {
			t.Fatalf("status %d: %s", status, answer)
		}
		if strings.Contains(answer, harness.SecretMail) {
			t.Fatal("the explanation quotes the request")
		}
	}
	ask("", harness.Chat(text+" And "+harness.SecretMail, false))
	if e.Upstream != engines[0].Addr() || e.Reason != "hit" || e.Findings != 1 || len(e.Upstreams) != 2 {
		t.Fatalf("a known prompt: %+v", e)
	}
	first, second := e.Upstreams[0], e.Upstreams[1]
	if first.Address != engines[0].Addr() || first.CachedTokens == 0 || first.CachedTokens >= e.PromptTokens || first.TTFT >= second.TTFT {
		t.Fatalf("the forecasts: %+v", e)
	}
	ask("", harness.Chat("Something else altogether.", false))
	if e.Reason != "cold" {
		t.Fatalf("an unknown prompt: %+v", e)
	}
	ask("", `{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"What is this?"},`+
		`{"type":"image_url","image_url":{"url":"data:image/png;base64,`+strings.Repeat("iVBORw0K", 100_000)+`"}}]}]}`)
	if e.PromptTokens < 100 || e.PromptTokens > 2000 {
		t.Fatalf("a prompt with an image of 800 kB counts as %d tokens", e.PromptTokens)
	}
	ask("?path=/v1/embeddings", `{"model":"m","input":"text"}`)
	if e.Reason != "fallback" || e.Upstream != "" {
		t.Fatalf("a request without a signature: %+v", e)
	}
	for _, wrong := range []struct {
		method, query, body string
		status              int
	}{
		{"POST", "", `{"model":"m","messages":3}`, 400},
		{"POST", "", `{"broken`, 400},
		{"POST", "?path=chat", `{}`, 400},
		{"GET", "", "", 405},
	} {
		if status, answer := call(wrong.method, "/kv_aware/explain"+wrong.query, wrong.body); status != wrong.status {
			t.Errorf("%s %q: status %d, want %d: %s", wrong.method, wrong.body, status, wrong.status, answer)
		}
	}
	if now := engines[0].Stats().Served + engines[1].Stats().Served; now != before {
		t.Fatalf("%d requests were sent to be explained", now-before)
	}
}
