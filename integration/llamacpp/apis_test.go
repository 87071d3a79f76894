// SPDX-License-Identifier: Apache-2.0

package llamacpp

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/counterparts"
	"github.com/bauxite/caddy-kvaware/integration/harness"
)

// apis are the requests that llama.cpp answers with generated text.
var apis = []struct {
	path string
	body func(text string) map[string]any
}{
	{harness.ChatPath, func(text string) map[string]any {
		return map[string]any{"max_tokens": 8, "messages": []message{{"user", text}}}
	}},
	{"/v1/completions", func(text string) map[string]any { return map[string]any{"max_tokens": 8, "prompt": text} }},
	{"/v1/messages", func(text string) map[string]any {
		return map[string]any{"max_tokens": 8, "messages": []message{{"user", text}}}
	}},
	{"/v1/responses", func(text string) map[string]any { return map[string]any{"max_output_tokens": 8, "input": text} }},
}

// From every API's answers, whole and streamed, without asking for usage, the gateway
// reads the cached tokens that llama.cpp counts, and the next prompt goes to the
// server that has the one before.
func TestCachedTokensOfEveryAPI(t *testing.T) {
	servers := counterparts.StartLlamaCPP(t, 3)
	g := startGateway(t, servers, "kv_aware")
	rnd := rand.New(rand.NewPCG(4, 4))
	for _, api := range apis {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s stream=%t", api.path, stream), func(t *testing.T) {
				text := "About this: " + counterparts.Text(rnd, 500)
				send := func(text string) {
					body := api.body(text)
					body["model"], body["stream"] = counterparts.Model, stream
					if answer := g.Post(t, api.path, encode(body)); answer.Status != http.StatusOK {
						t.Fatalf("status %d: %.300s", answer.Status, answer.Body)
					}
				}
				send(text)
				counted, read := sumMetric(t, servers, cachedTokens), harness.Metric(t, reportedTokens)
				send(text + " " + counterparts.Text(rnd, 50))
				counted, read = sumMetric(t, servers, cachedTokens)-counted, harness.Metric(t, reportedTokens)-read
				if counted < 500 || read != counted {
					t.Errorf("llama.cpp has counted %.0f cached tokens, the gateway has read %.0f", counted, read)
				}
			})
		}
	}
	if n := harness.Metric(t, "caddy_kv_aware_usage_missing_total"); n != 0 {
		t.Errorf("%.0f answers had no usage", n)
	}
}

// llama.cpp's own errors reach the client as they are, and count against no server.
func TestOwnErrorsPass(t *testing.T) {
	servers := counterparts.StartLlamaCPP(t, 1)
	g := startGateway(t, servers, "kv_aware")
	long := counterparts.Text(rand.New(rand.NewPCG(5, 5)), 10_000) // longer than the context
	for _, api := range apis {
		body := encode(api.body(long))
		direct, err := http.Post("http://"+servers[0].Address+api.path, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		want, err := io.ReadAll(direct.Body)
		direct.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		answer := g.Post(t, api.path, body)
		if answer.Status != http.StatusBadRequest || answer.Status != direct.StatusCode || answer.Body != string(want) {
			t.Errorf("%s: status %d, %.300s; llama.cpp itself answers %d, %.300s", api.path, answer.Status, answer.Body, direct.StatusCode, want)
		}
	}
	if n := harness.Metric(t, "caddy_kv_aware_failures_total"); n != 0 {
		t.Errorf("%.0f failures were counted", n)
	}
}
