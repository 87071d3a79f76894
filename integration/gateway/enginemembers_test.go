// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// steeringSite is a site of one engine whose janitor has these options.
func steeringSite(engines []*enginesim.Engine, options string) string {
	return strings.Replace(harness.PolicySite(engines, "usage inject"), "pii_janitor\n", "pii_janitor {\n"+options+"\n}\n", 1)
}

// An engine gets nothing of what steers it from inside, whatever the API, and no
// request that manages it.
func TestEnginesAreNotSteered(t *testing.T) {
	engines := harness.StartEngines(t, 2, enginesim.Config{Speed: 200, Record: 256, OutputTokens: 2})
	const steer = `"\u006bv_transfer_params":{"do_remote_prefill":true},"ec_transfer_params":{},` +
		`"bootstrap_host":"h","bootstrap_port":1,"bootstrap_room":2,"routed_dp_rank":1,"disagg_prefill_dp_rank":1,` +
		`"vllm_xargs":{"mine":[1],"kv_cache_report_mode":"full","kv_transfer_params":"x"},"sampling_params":{"extra_args":{"kv_transfer_params":{}}},`
	headers := []string{
		"X-data-parallel-rank", "0", "x-prefiller-host-port", "h:1", "x-kv-cache-source-host-port", "h:1", "X-Vllm-Priority", "-1",
		"X-Override-Bootstrap-Host", "h", "X-Mine", "1",
	}
	bodies := map[string]string{
		"/v1/chat/completions": `"model":"sim","messages":[{"role":"user","content":"MAIL"}]`,
		"/v1/completions":      `"model":"sim","prompt":"MAIL"`,
		"/v1/responses":        `"model":"sim","input":"MAIL"`,
		"/v1/messages":         `"model":"sim","max_tokens":4,"messages":[{"role":"user","content":"MAIL"}]`,
		"/v1/embeddings":       `"model":"sim","input":["MAIL"]`,
		"/invocations":         `"model":"sim","messages":[{"role":"user","content":"MAIL"}]`,
	}
	forbidden := []string{"transfer_params", `v_tr`, "bootstrap", "dp_rank", "report_mode"}
	for _, mode := range []string{"placeholder", "detect"} {
		g := harness.StartGateway(t, "caddyfile", steeringSite(engines, "mode "+mode))
		sent := 0
		for path, body := range bodies {
			for _, text := range []string{"hello", harness.SecretMail} {
				for _, stream := range []string{"", `,"stream":true`} {
					answer := g.Post(t, path, "{"+steer+strings.Replace(body, "MAIL", text, 1)+stream+"}", headers...)
					if answer.Status != http.StatusOK && path != "/invocations" && path != "/v1/embeddings" {
						t.Errorf("%s: %d %.300s", path, answer.Status, answer.Body)
					}
					sent++
				}
			}
		}
		if answer := g.Post(t, "/v1/completions", `{"prompt":"x","kv_transfer_params":1,`+"\"\\u006bv_transfer_params\":1}"); answer.Status != http.StatusBadRequest {
			t.Errorf("the same member twice: %d", answer.Status)
		}
		for _, c := range []struct {
			method, path, body string
			status             int
		}{
			{"POST", "/flush_cache", "", 403}, {"GET", "/flush_cache", "", 403}, {"POST", "/sleep?level=2", "", 403},
			{"POST", "/reset_prefix_cache", "", 403}, {"POST", "/reset_prefix_cache", "{}", 403},
			{"POST", "/v1/load_lora_adapter", `{"lora_name":"a","lora_path":"/a"}`, 403}, {"POST", "/something_new", "", 405},
		} {
			r, err := http.NewRequest(c.method, g.URL+c.path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if answer := g.Do(t, r); answer.Status != c.status || !strings.Contains(answer.Body, `"error"`) {
				t.Errorf("%s %s: %d %s", c.method, c.path, answer.Status, answer.Body)
			}
		}
		arrived := 0
		for _, e := range engines {
			for _, r := range e.Received() {
				if _, known := bodies[r.Path]; !known {
					t.Errorf("%s %s has reached an engine", r.Method, r.Path)
					continue
				}
				arrived++
				for _, word := range forbidden {
					if strings.Contains(string(r.Body), word) {
						t.Errorf("%s: the engine gets %s", r.Path, r.Body)
					}
				}
				if !strings.Contains(string(r.Body), `"vllm_xargs":{"mine":[1]}`) {
					t.Errorf("%s: the rest of vllm_xargs is gone: %s", r.Path, r.Body)
				}
				for i := 0; i < len(headers); i += 2 {
					if got := r.Header.Get(headers[i]); (got != "") != (headers[i] == "X-Mine") {
						t.Errorf("%s: the engine gets %s: %s", r.Path, headers[i], got)
					}
				}
			}
			e.Reset()
		}
		if arrived < sent { // some are sent twice, where the engine lacks the path
			t.Errorf("mode %s: %d of %d requests arrived", mode, arrived, sent)
		}
	}
	if n := harness.Metric(t, "caddy_pii_janitor_engine_members_total"); n == 0 {
		t.Error("nothing was counted")
	}
}

// With engine_members pass, gateways can be stacked.
func TestEngineMembersPass(t *testing.T) {
	engines := harness.StartEngines(t, 1, enginesim.Config{Speed: 200, Record: 16, OutputTokens: 2})
	g := harness.StartGateway(t, "caddyfile", steeringSite(engines, "engine_members pass\nengine_members strip x-vllm-priority\nengine_members refuse bootstrap_host"))
	body := `{"model":"sim","prompt":"hello","kv_transfer_params":{"a":1}}`
	if answer := g.Post(t, "/v1/completions", body, "X-Data-Parallel-Rank", "0", "X-Vllm-Priority", "1"); answer.Status != http.StatusOK {
		t.Fatal(fmt.Sprint(answer.Status, answer.Body))
	}
	if answer := g.Post(t, "/v1/completions", `{"model":"sim","prompt":"hello","bootstrap_host":"h"}`); answer.Status != http.StatusBadRequest ||
		!strings.Contains(answer.Body, `"param":"bootstrap_host"`) {
		t.Error(answer.Status, answer.Body)
	}
	received := engines[0].Received()
	if len(received) != 1 || string(received[0].Body) != body || received[0].Header.Get("X-Data-Parallel-Rank") != "0" || received[0].Header.Get("X-Vllm-Priority") != "" {
		t.Errorf("the engine got %+v", received)
	}
}
