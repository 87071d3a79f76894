// SPDX-License-Identifier: Apache-2.0

//go:build real

package real

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
)

// everyAPI asks each question twice. The second time it is known to the token.
func (s *suite) everyAPI(t *testing.T) {
	g := gateway(t, []*engine{s.wide}, followEvents())
	rnd := rand.New(rand.NewPCG(1, 1))
	tool := map[string]any{"name": "look", "description": "Looks.", "parameters": map[string]any{"type": "object", "properties": map[string]any{}}}
	messagesTool := map[string]any{"name": "look", "description": "Looks.", "input_schema": map[string]any{"type": "object", "properties": map[string]any{}}}
	responsesTool := map[string]any{"type": "function", "name": "look", "description": "Looks.", "parameters": map[string]any{"type": "object", "properties": map[string]any{}}}
	user := func() []map[string]any { return []map[string]any{{"role": "user", "content": words(rnd, 600)}} }
	questions := []struct{ what, path, body string }{
		{"chat", harness.ChatPath, chat("tiny", words(rnd, 600))},
		{"chat with tools", harness.ChatPath, chat("tiny", words(rnd, 600), "tools", []any{map[string]any{"type": "function", "function": tool}}, "tool_choice", "none")},
		{"completions", "/v1/completions", object("model", "tiny", "prompt", words(rnd, 600), "max_tokens", 4, "temperature", 0)},
		{"messages", "/v1/messages", object("model", "tiny", "messages", user(), "system", "Be brief.", "max_tokens", 4, "temperature", 0)},
		{"messages with tools", "/v1/messages", object("model", "tiny", "messages", user(), "tools", []any{messagesTool}, "tool_choice", map[string]any{"type": "none"}, "max_tokens", 4, "temperature", 0)},
		{"responses", "/v1/responses", object("model", "tiny", "input", words(rnd, 600), "instructions", "Be brief.", "max_output_tokens", 4, "temperature", 0, "store", false)},
		{"responses with tools", "/v1/responses", object("model", "tiny", "input", user(), "tools", []any{responsesTool}, "tool_choice", "none", "max_output_tokens", 4, "temperature", 0, "store", false)},
	}
	var right []string
	for _, q := range questions {
		ask(t, g, q.path, q.body)
		before := t.Failed()
		exactly(t, g, q.what, q.path, q.body, 500)
		if before == t.Failed() {
			right = append(right, q.what)
		}
	}
	s.seen("events for every API: the second time, a prompt is predicted to the token", "%s", strings.Join(right, ", "))
	s.otherClients(t, g)
}

// otherClients sends prompts past the gateway. It knows them from events.
func (s *suite) otherClients(t *testing.T, g *harness.Gateway) {
	t.Helper()
	text := words(rand.New(rand.NewPCG(1, 2)), 600)
	body := chat("tiny", text)
	read(t, post(t, s.wide.url(), harness.ChatPath, body))
	settle(t)
	ask(t, g, harness.ChatPath, chat("tiny", text+"More.")) // links the text, but for its last block
	if a := ask(t, g, harness.ChatPath, body); a.predicted < a.cached-160 || a.predicted > a.cached {
		t.Errorf("a prompt of another client: of %d tokens, %d were predicted to be cached and %d were", a.prompt, a.predicted, a.cached)
	}
}

// spaces checks what shares KV blocks and what does not: names of one model do,
// adapters and salts do not.
func (s *suite) spaces(t *testing.T) {
	for _, o := range []struct{ what, option string }{{"with events", followEvents()}, {"from own history", ""}} {
		g := gateway(t, []*engine{s.wide}, o.option)
		rnd := rand.New(rand.NewPCG(2, uint64(len(o.option))))
		// The end of a prompt is in no whole block of text.
		check := func(what, body string, cached bool) {
			t.Helper()
			a := ask(t, g, harness.ChatPath, body)
			if off := a.predicted - a.cached; max(off, -off) > a.prompt*8/100 || cached != (a.cached > a.prompt/2) {
				t.Errorf("%s, %s: of %d tokens, %d were predicted to be cached and %d were", o.what, what, a.prompt, a.predicted, a.cached)
			}
		}
		text := words(rnd, 600)
		check("the first name", chat("tiny", text), false)
		check("the first name again", chat("tiny", text), true)
		check("the second name", chat("tiny-alias", text), true)
		check("the adapter", chat("tiny-lora", text), false)
		check("the adapter again", chat("tiny-lora", text), true)
		check("a salt", chat("tiny", text, "cache_salt", "one"), false)
		check("the same salt", chat("tiny", text, "cache_salt", "one"), true)
		check("another salt", chat("tiny", text, "cache_salt", "two"), false)
		check("the second name, a salt", chat("tiny-alias", text, "cache_salt", "one"), true)
		check("the first name at the end", chat("tiny", text), true)
		text = words(rnd, 600)
		check("a new text under the second name", chat("tiny-alias", text), false)
		check("and then under the first", chat("tiny", text), true)
	}
	s.seen("two names of one model share blocks; a LoRA adapter and each `cache_salt` have their own", "predicted so with events and from own history")
	s.tenants(t)
}

// tenants checks that the gateway's salts keep tenants apart in the engine.
func (s *suite) tenants(t *testing.T) {
	t.Helper()
	g := gateway(t, []*engine{s.wide}, followEvents(), "tenant {http.request.header.X-Tenant}", "cache_salt on")
	body := chat("tiny", words(rand.New(rand.NewPCG(3, 3)), 600))
	for _, c := range []struct {
		tenant string
		cached bool
	}{{"a", false}, {"a", true}, {"b", false}, {"b", true}, {"a", true}} {
		a := read(t, g.Post(t, harness.ChatPath, body, "X-Tenant", c.tenant))
		settle(t)
		if a.predicted != a.cached || c.cached != (a.cached > 500) {
			t.Errorf("tenant %s: %d predicted, %d cached", c.tenant, a.predicted, a.cached)
		}
	}
	s.seen("`tenant` with `cache_salt on`", "tenants share no block, and are predicted to the token")
}

// promptChanges checks members that change what is cached, or the prompt itself.
func (s *suite) promptChanges(t *testing.T) {
	g := gateway(t, []*engine{s.wide}, followEvents())
	text := words(rand.New(rand.NewPCG(4, 4)), 600)
	ask(t, g, harness.ChatPath, chat("tiny", text))
	exactly(t, g, "the prompt itself", harness.ChatPath, chat("tiny", text), 500)
	a := exactly(t, g, "prompt_logprobs", harness.ChatPath, chat("tiny", text, "prompt_logprobs", 1), 0)
	if a.cached != 0 {
		t.Errorf("prompt_logprobs: %d tokens were cached", a.cached)
	}
	exactly(t, g, "after prompt_logprobs", harness.ChatPath, chat("tiny", text), 500)
	schema := map[string]any{"type": "json_schema", "json_schema": map[string]any{"name": "x", "schema": map[string]any{"type": "object", "properties": map[string]any{}, "additionalProperties": false}}}
	// Some models' prompts contain it, so its tokens are fetched for themselves.
	ask(t, g, harness.ChatPath, chat("tiny", text, "response_format", schema))
	exactly(t, g, "response_format", harness.ChatPath, chat("tiny", text, "response_format", schema), 500)
	s.seen("`prompt_logprobs` skips the prefix cache; `response_format` does not change a Llama's prompt", "predicted to the token")
}

// steering checks that a client cannot steer an engine from inside.
func (s *suite) steering(t *testing.T) {
	g := gateway(t, []*engine{s.offloading}, followEvents())
	rnd := rand.New(rand.NewPCG(5, 5))
	for i, members := range [][]any{
		{"kv_transfer_params", map[string]any{"do_remote_prefill": true}},
		{"kv_transfer_params", map[string]any{"do_remote_decode": true}},
		{"kv_transfer_params", map[string]any{"lmcache.skip_save": true}},
		{"vllm_xargs", map[string]any{"kv_transfer_params": `{"do_remote_prefill":true}`, "kv_cache_report_mode": "full"}},
		{"sampling_params", map[string]any{"extra_args": map[string]any{"kv_transfer_params": map[string]any{"do_remote_prefill": true}}}},
	} {
		body := chat("tiny", words(rnd, 300), members...)
		if a := g.Post(t, harness.ChatPath, body); a.Status != http.StatusOK && a.Status != http.StatusBadRequest {
			t.Errorf("request %d: status %d: %.300s", i, a.Status, a.Body)
		}
	}
	if !s.offloading.alive() {
		t.Fatal("the engine has ended")
	}
	for _, path := range []string{"/reset_prefix_cache", "/sleep?level=2", "/v1/load_lora_adapter", "/abort_requests"} {
		if a := g.Post(t, path, ""); a.Status < 400 {
			t.Errorf("%s: status %d", path, a.Status)
		}
	}
	exactly(t, g, "a prompt after them", harness.ChatPath, chat("tiny", words(rnd, 300)), 0)
	s.seen("`kv_transfer_params`, `kv_cache_report_mode`, management paths: an engine with a KV connector behind the gateway", "lives and answers (direct, `do_remote_prefill` ends its process)")
}

// oneHost follows two engines of one host, with blocks of different sizes.
func (s *suite) oneHost(t *testing.T) {
	both := []*engine{s.wide, s.offloading}
	g := gateway(t, both, followEvents())
	rnd := rand.New(rand.NewPCG(6, 6))
	for i, e := range both {
		for range 3 {
			body := chat("tiny", words(rnd, 600))
			read(t, post(t, e.url(), harness.ChatPath, body))
			settle(t)
			ask(t, g, harness.ChatPath, chat("tiny", "Hello. "+words(rnd, 300)))
			ask(t, g, harness.ChatPath, body) // links the text; goes to any
			exactly(t, g, "a prompt that "+e.name+" holds", harness.ChatPath, body, 500)
		}
		if size := harness.Upstreams(t)[e.address()].Events[0].BlockTokens; size != []int{32, 64}[i] {
			t.Errorf("%s has blocks of %d tokens", e.name, size)
		}
	}
	for range 4 { // only one engine has the adapter
		if a := ask(t, g, harness.ChatPath, chat("tiny-lora", words(rnd, 300))); a.upstream != s.wide.address() {
			t.Errorf("a request for the adapter went to %s", a.upstream)
		}
	}
	s.seen("two engines on one host, `events tcp://{http.reverse_proxy.upstream.host}:+"+fmt.Sprint(eventsOffset)+"`, blocks of 32 and of 64 tokens, an adapter at one of them", "both followed, predicted to the token")
}
