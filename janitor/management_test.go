// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"net/http"
	"strings"
	"testing"
)

// Requests that manage an engine are refused, whatever the method, the prefix or
// the spelling of the path. Those to models and to what engines tell go on.
func TestManagement(t *testing.T) {
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "/flush_cache", "", 403},
		{"GET", "/flush_cache", "", 403},
		{"POST", "/flush_cache", "{}", 403},
		{"POST", "/sleep?level=2", "", 403},
		{"POST", "/llama/sleep?level=2", "", 403},
		{"POST", "/sleep/", "", 403},
		{"POST", "/sleep%0A", "", 403},
		{"POST", "/%73leep", "", 403},
		{"POST", "/a/../sleep/.", "", 403},
		{"POST", "//sleep//", "", 403},
		{"POST", "/reset_prefix_cache", "", 403},
		{"POST", "/collective_rpc", `{"method":"f"}`, 403},
		{"POST", "/v1/load_lora_adapter", `{"lora_name":"a","lora_path":"/"}`, 403},
		{"POST", "/abort_request", `{"abort_all":true}`, 403},
		{"POST", "/abort_requests", `{}`, 403},
		{"GET", "/release_memory_occupation", `{}`, 403},
		{"GET", "/get_server_info", "", 403},
		{"PUT", "/hicache/storage-backend", `{}`, 403},
		{"DELETE", "/hicache/storage-backend", "", 403},
		{"POST", "/hicache/storage-backend/clear", "", 403},
		{"POST", "/fault_tolerance/apply", `{}`, 403},
		{"POST", "/slots/0?action=restore", `{"filename":"f"}`, 403},
		{"GET", "/slots", "", 403},
		{"POST", "/props", `{}`, 403},
		{"GET", "/props", "", 200},
		{"POST", "/models/unload", `{"model":"m"}`, 403},
		{"DELETE", "/api/delete", `{"model":"m"}`, 403},
		{"GET", "/v1/models", "", 200},
		{"GET", "/v1/models/load/x", "", 200},
		{"GET", "/health", "", 200},
		{"GET", "/is_sleeping", "", 200},
		{"HEAD", "/x", "", 200},
		{"OPTIONS", chatPath, "", 200},
		{"GET", "/", "", 200},
		{"POST", "/generate", `{"text":"x"}`, 200},

		// Without a body nothing is done.
		{"POST", "/something_new", "", 405},
		{"DELETE", "/v1/files/f", "", 405},
		{"PUT", "/something_new", "", 405},
		{"TRACE", "/", "", 405},
		{"POST", "/", "", 405},
		{"POST", chatPath, "", 400},
		{"POST", "/v1/messages", "", 400},
		{"POST", "/v1/responses/resp_1/cancel", "", 200},
		{"POST", "/llama/v1/responses/resp_1/cancel/", "", 200},
		{"DELETE", "/v1/responses/resp_1", "", 200},
		{"DELETE", "/v1/responses/resp_1/cancel", "", 405},
		{"POST", "/v1/responses/resp_1", "", 405},
		{"POST", "/v1/responses/resp_1/other", "", 405},
		{"POST", "/v1/responses//cancel", "", 405},
	} {
		for _, pass := range []bool{false, true} {
			want := c.status
			h := newHandler(t, func(h *Handler) {
				if pass {
					h.EngineMembers = []EngineMemberRule{{Mode: "pass", Names: []string{"management"}}}
				} else if strings.Contains(c.path, "sleep") {
					h.EngineMembers = []EngineMemberRule{{Mode: "pass"}} // does not name management
				}
			})
			if pass {
				want = 200
			}
			w, e := serve(t, h, newRequest(c.method, "http://x"+c.path, strings.NewReader(c.body)))
			if w.Code != want || e.called != (want == 200) {
				t.Errorf("%s %s, management passes: %v: %d, want %d", c.method, c.path, pass, w.Code, want)
			}
			if !e.called {
				wantErrorBody(t, w, c.path, "sleep")
			}
			if allow := w.Header().Get("Allow"); (want == 405) != (allow != "") {
				t.Errorf("%s %s: Allow is %q", c.method, c.path, allow)
			}
		}
	}
}

// An upgrade that passes unread is no way around the rules.
func TestManagementByUpgrade(t *testing.T) {
	h := newHandler(t, func(h *Handler) { h.Unknown = "pass" })
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/v1/realtime", 200},
		{"GET", "/flush_cache", 403},
		{"POST", "/something_new", 405},
		{"CONNECT", "/v1/realtime", 200},
	} {
		r := newRequest(c.method, c.path, http.NoBody)
		r.Header.Set("Upgrade", "websocket")
		if w, _ := serve(t, h, r); w.Code != c.status {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, w.Code, c.status)
		}
	}
}

// A body that arrives in chunks and is empty is no body.
func TestEmptyChunkedBody(t *testing.T) {
	r := newRequest("POST", "/something_new", strings.NewReader(""))
	r.ContentLength, r.TransferEncoding = -1, []string{"chunked"}
	if w, e := serve(t, newHandler(t), r); w.Code != 405 || e.called {
		t.Errorf("%d", w.Code)
	}
}
