// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/bauxite/caddy-kvaware/integration/enginesim"
)

// adminJSON is the config as users post it to the admin API.
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

// Users come by JSON over the admin API too: loading, refusing what is wrong,
// looking at what the gateway knows, and making it forget.
func TestAdminAPI(t *testing.T) {
	engines := startEngines(t, 2, enginesim.Config{Speed: 50})
	admin := freeAddress(t)
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
	client := newClient(t)
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

	g := &gateway{url: serverURL(t), client: client}
	text := strings.Repeat("A prompt that is long enough for a few blocks. ", 50)
	for range 2 {
		if answer := g.post(t, "/v1/chat/completions", chat(text, false)); answer.status != http.StatusOK {
			t.Fatalf("status %d", answer.status)
		}
	}
	var tree struct {
		Blocks, Upstreams int
		Bytes             int64
		Limit             int64 `json:"memory_limit"`
	}
	status, answer := call("GET", "/kv_aware/tree", "")
	if err := json.Unmarshal([]byte(answer), &tree); err != nil || status != http.StatusOK {
		t.Fatalf("status %d: %s", status, answer)
	}
	if tree.Blocks == 0 || tree.Upstreams != 2 || tree.Limit != 20_000_000 || tree.Bytes > tree.Limit {
		t.Fatalf("the tree: %+v", tree)
	}
	if status, _ := call("DELETE", "/kv_aware/upstreams/"+engines[0].Addr(), ""); status != http.StatusOK {
		t.Fatalf("forgetting an upstream: status %d", status)
	}
	_, answer = call("GET", "/kv_aware/tree", "")
	if err := json.Unmarshal([]byte(answer), &tree); err != nil || tree.Blocks != 0 {
		t.Fatalf("after the only holder was forgotten: %s", answer)
	}
}

// freeAddress returns an address on which nothing listened a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
