// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/bauxite/caddy-kvaware/internal/routing"
)

func newTestShared() *shared {
	return newShared(2_000_000, func() time.Time { return time.Unix(1000, 0) })
}

// hold makes the fleet believe that address holds a prompt.
func hold(s *shared, address string, chain ...uint64) {
	r := s.router.NewRequest(routing.Prompt{Chain: chain, Tokens: 1000, BlockTokens: 64, Epoch: s.signing.Load().epoch})
	r.Route([]routing.Candidate{{Address: address}}, false)
	r.Confirm()
	r.End()
}

func TestSettingsOfAReload(t *testing.T) {
	s := newTestShared()
	old := &settings{memoryLimit: 2_000_000}
	if s.apply(old) {
		t.Fatal("the first config has emptied the tree")
	}
	hold(s, "n", 1, 2, 3)
	renewed := &settings{memoryLimit: 3_000_000}
	if s.apply(renewed) {
		t.Fatal("the key is the same, the tree was emptied")
	}
	s.withdraw(old) // the old config stops after the new one has started
	if got := s.router.Stats(); got.Limit != 3_000_000 || got.Blocks != 3 {
		t.Fatalf("after the reload: %+v", got)
	}
	keyed := &settings{memoryLimit: 3_000_000, key: []byte("0123456789abcdef")}
	if !s.apply(keyed) {
		t.Fatal("a new key did not empty the tree")
	}
	s.withdraw(renewed)
	if got := s.router.Stats(); got.Blocks != 0 {
		t.Fatalf("under a new key: %+v", got)
	}
}

// A new config that fails to start is stopped again; the running one's
// settings are in force as before.
func TestSettingsOfAFailedReload(t *testing.T) {
	s := newTestShared()
	running := &settings{memoryLimit: 2_000_000}
	s.apply(running)
	failing := &settings{memoryLimit: 5_000_000, key: []byte("0123456789abcdef")}
	s.apply(failing)
	s.withdraw(failing)
	if got := s.router.Stats().Limit; got != 2_000_000 {
		t.Fatalf("limit %d", got)
	}
	if string(s.signing.Load().key) != string(s.random) {
		t.Fatal("the failed config's key is still in force")
	}
	hold(s, "n", 1, 2)
	if got := s.router.Stats().Blocks; got != 2 {
		t.Fatalf("%d blocks recorded under the restored key", got)
	}
	s.withdraw(running)
	s.withdraw(running) // again: nothing to do
}

func TestTheRandomKeyIsRandom(t *testing.T) {
	a, b := newTestShared(), newTestShared()
	if string(a.random) == string(b.random) || len(a.random) < MinHashKey {
		t.Fatalf("keys of %d bytes, equal: %v", len(a.random), string(a.random) == string(b.random))
	}
}

func TestAdmin(t *testing.T) {
	call := func(method, path string) (int, string) {
		t.Helper()
		for _, route := range (Admin{}).Routes() {
			if route.Pattern != path && !(strings.HasSuffix(route.Pattern, "/") && strings.HasPrefix(path, route.Pattern)) {
				continue
			}
			rec := httptest.NewRecorder()
			if err := route.Handler.ServeHTTP(rec, httptest.NewRequest(method, path, nil)); err != nil {
				api, ok := err.(caddy.APIError)
				if !ok {
					t.Fatalf("%s %s: not an API error: %v", method, path, err)
				}
				return api.HTTPStatus, api.Err.Error()
			}
			return rec.Code, rec.Body.String()
		}
		t.Fatalf("no route for %s", path)
		return 0, ""
	}
	if status, _ := call("GET", "/kv_aware/tree"); status != http.StatusNotFound {
		t.Fatalf("without a config: status %d", status)
	}
	s, err := acquireShared(2_000_000)
	if err != nil {
		t.Fatal(err)
	}
	defer releaseShared()
	hold(s, "node-b:8000", 1, 2, 3)
	hold(s, "node-a:8000", 1, 2, 3, 4)

	status, body := call("GET", "/kv_aware/tree")
	var tree treeReport
	if err := json.Unmarshal([]byte(body), &tree); err != nil || status != 200 {
		t.Fatalf("status %d: %s", status, body)
	}
	if tree.Blocks != 4 || tree.Upstreams != 2 || tree.Limit != 2_000_000 || tree.Bytes <= 0 || tree.Bytes > tree.Limit {
		t.Fatalf("tree %+v", tree)
	}
	_, body = call("GET", "/kv_aware/upstreams")
	var all []upstreamReport
	if err := json.Unmarshal([]byte(body), &all); err != nil || len(all) != 2 || all[0].Address != "node-a:8000" {
		t.Fatalf("upstreams: %s", body)
	}
	_, body = call("GET", "/kv_aware/upstreams/node-b:8000")
	var one upstreamReport
	if err := json.Unmarshal([]byte(body), &one); err != nil || one.Address != "node-b:8000" || one.Footprint != 1000 {
		t.Fatalf("one upstream: %s", body)
	}
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/kv_aware/upstreams/node-c:8000", 404},
		{"DELETE", "/kv_aware/upstreams/node-c:8000", 404},
		{"GET", "/kv_aware/upstreams/", 404},
		{"POST", "/kv_aware/upstreams", 405},
		{"POST", "/kv_aware/upstreams/node-a:8000", 405},
		{"POST", "/kv_aware/tree", 405},
	} {
		if status, _ := call(c.method, c.path); status != c.status {
			t.Errorf("%s %s: status %d, want %d", c.method, c.path, status, c.status)
		}
	}
	call("DELETE", "/kv_aware/upstreams/node-a:8000")
	if n := s.router.Stats().Blocks; n != 3 {
		t.Fatalf("%d blocks after one upstream was forgotten, want 3", n)
	}
	call("DELETE", "/kv_aware/upstreams")
	if n := s.router.Stats().Blocks; n != 0 {
		t.Fatalf("%d blocks after all were forgotten", n)
	}
	hold(s, "node-a:8000", 1, 2)
	if n := s.router.Stats().Blocks; n != 2 {
		t.Fatal("after all were forgotten nothing is recorded any more")
	}
}

func TestTenant(t *testing.T) {
	key, other := []byte("0123456789abcdef"), []byte("fedcba9876543210")
	request := func(user string) *http.Request {
		r := httptest.NewRequest("POST", "/", nil)
		repl := caddy.NewReplacer()
		repl.Set("http.auth.user.id", user)
		return r.WithContext(contextWith(r, repl))
	}
	p := &Policy{Tenant: "{http.auth.user.id}"}
	alice := p.tenant(request("alice"), key)
	if alice.nobody || len(alice.id) != 32 || strings.Contains(alice.id, "alice") {
		t.Fatalf("alice is %+v", alice)
	}
	if p.tenant(request("alice"), key) != alice {
		t.Fatal("the same tenant twice is not the same")
	}
	if p.tenant(request("bob"), key) == alice || p.tenant(request("alice"), other) == alice {
		t.Fatal("another tenant, or another key, gives the same id")
	}
	one, two := p.tenant(request(""), key), p.tenant(request(""), key)
	if !one.nobody || one == two {
		t.Fatal("requests without a tenant share")
	}
	if (&Policy{}).tenant(request("alice"), key) != (tenant{}) {
		t.Fatal("tenants are told apart though nobody asked for it")
	}
}

func contextWith(r *http.Request, repl *caddy.Replacer) context.Context {
	return context.WithValue(r.Context(), caddy.ReplacerCtxKey, repl)
}
