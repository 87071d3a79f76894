// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

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
