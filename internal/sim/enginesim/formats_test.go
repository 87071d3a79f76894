// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// sse is one decoded record of a stream with named events.
type sse struct {
	name string
	data map[string]any
}

func namedEvents(t *testing.T, body string) []sse {
	t.Helper()
	var list []sse
	for _, record := range records(t, body) {
		name, data, ok := strings.Cut(strings.TrimPrefix(record, "event: "), "\ndata: ")
		e := sse{name: name}
		if !ok || json.Unmarshal([]byte(data), &e.data) != nil || e.data["type"] != name {
			t.Fatalf("record %q", record)
		}
		list = append(list, e)
	}
	return list
}

func eventNames(list []sse) []string {
	var names []string
	for _, e := range list {
		if len(names) == 0 || names[len(names)-1] != e.name {
			names = append(names, e.name) // a run of deltas is one
		}
	}
	return names
}

// path walks an answer by member names and indices.
func path(v any, keys ...any) any {
	for _, key := range keys {
		switch k := key.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[k]
		case int:
			l, _ := v.([]any)
			if k >= len(l) {
				return nil
			}
			v = l[k]
		}
	}
	return v
}

func TestResponses(t *testing.T) {
	e := start(t, Config{Responder: Echo})
	var a map[string]any
	ask(t, e, "/v1/responses", `{"model":"m","instructions":"Be kind.","input":"Hello there"}`, &a)
	for want, got := range map[any]any{
		"response":    a["object"],
		"completed":   a["status"],
		"message":     path(a, "output", 0, "type"),
		"Hello there": path(a, "output", 0, "content", 0, "text"),
		"output_text": path(a, "output", 0, "content", 0, "type"),
		// system: 1+2+2+1, user: 1+2+3+1, generation prompt: 4
		17.0: path(a, "usage", "input_tokens"),
		0.0:  path(a, "usage", "input_tokens_details", "cached_tokens"),
		4.0:  path(a, "usage", "output_tokens"),
		21.0: path(a, "usage", "total_tokens"),
	} {
		if got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

func TestResponsesItems(t *testing.T) {
	e := start(t, Config{Responder: Echo})
	var a map[string]any
	ask(t, e, "/v1/responses", `{"input":[
		{"role":"user","content":"first"},
		{"type":"message","role":"assistant","content":[{"type":"output_text","text":"ok"}]},
		{"type":"function_call","call_id":"1","name":"f","arguments":"{}"},
		{"type":"function_call_output","call_id":"1","output":"42"},
		{"type":"reasoning","encrypted_content":"xyz"},
		{"role":"user","content":[{"type":"input_text","text":"last"},{"type":"input_image","image_url":"data:x"}]}]}`, &a)
	if got := path(a, "output", 0, "content", 0, "text"); got != "last" {
		t.Errorf("text %v", got)
	}
	if got := path(a, "usage", "input_tokens").(float64); got < 2*imageTokens {
		t.Errorf("%v input tokens do not cover reasoning and image", got)
	}
}

func TestResponsesStream(t *testing.T) {
	e := start(t, Config{Responder: toolReply})
	list := namedEvents(t, requestWithID(t, e, "/v1/responses", `{"input":"x","stream":true}`))
	want := []string{
		"response.created", "response.in_progress",
		"response.output_item.added", "response.content_part.added", "response.output_text.delta",
		"response.output_text.done", "response.content_part.done", "response.output_item.done",
		"response.output_item.added", "response.function_call_arguments.delta", "response.function_call_arguments.done", "response.output_item.done",
		"response.output_item.added", "response.function_call_arguments.delta", "response.function_call_arguments.done", "response.output_item.done",
		"response.completed",
	}
	if got := eventNames(list); !slices.Equal(got, want) {
		t.Errorf("events %q", got)
	}
	texts := map[string]string{}
	for i, e := range list {
		if e.data["sequence_number"] != float64(i) {
			t.Errorf("event %d has number %v", i, e.data["sequence_number"])
		}
		if delta, ok := e.data["delta"].(string); ok {
			texts[fmt.Sprint(e.data["output_index"], e.data["item_id"])] += delta
		}
	}
	if got := fmt.Sprint(texts); got != `map[0msg_7:Let me look. 1fc_call_7_0:{"query":"a <b> & c"} 2fc_call_7_1:{}]` {
		t.Errorf("texts %s", got)
	}
	last := list[len(list)-1].data
	if path(last, "response", "output", 1, "arguments") != `{"query":"a <b> & c"}` || path(last, "response", "usage", "output_tokens").(float64) < 10 {
		t.Errorf("completed: %v", last)
	}

	list = namedEvents(t, requestWithID(t, e, "/v1/responses", `{"input":"x","stream":true,"max_output_tokens":2}`))
	last = list[len(list)-1].data
	if path(last, "response", "status") != "incomplete" || path(last, "response", "incomplete_details", "reason") != "max_output_tokens" {
		t.Errorf("cut off: %v", last)
	}
}

func TestMessages(t *testing.T) {
	e := start(t, Config{Responder: Echo})
	body := `{"model":"m","max_tokens":100,"system":[{"type":"text","text":"Be kind."}],"messages":[{"role":"user","content":"` +
		strings.Repeat("four", 20) + `"}]}`
	requestWithID(t, e, "/v1/messages", body)
	same(t, requestWithID(t, e, "/v1/messages", body),
		`{"id":"chatcmpl-7","type":"message","role":"assistant","content":[{"text":"`+strings.Repeat("four", 20)+`","type":"text"}],`+
			`"model":"m","stop_reason":"end_turn","stop_sequence":null,`+
			// 34 tokens of prompt, two blocks of it cached
			`"usage":{"input_tokens":2,"output_tokens":21,"cache_creation_input_tokens":0,"cache_read_input_tokens":32}}`)
	var count map[string]int
	ask(t, e, "/v1/messages/count_tokens", body, &count)
	if count["input_tokens"] != 34 {
		t.Errorf("count %v", count)
	}
	if _, text := post(t, e, "/v1/messages", `{"messages":3}`); !strings.HasPrefix(text, `{"error":{"message":`) || !strings.HasSuffix(text, `"type":"error"}`) {
		t.Errorf("error %s", text)
	}
}

func TestMessagesStream(t *testing.T) {
	e := start(t, Config{Responder: toolReply})
	const body = `{"model":"m","max_tokens":100,"stream":true,"messages":[{"role":"user","content":[
		{"type":"tool_result","tool_use_id":"1","content":[{"type":"text","text":"42"}]},{"type":"tool_use","name":"f","input":{"a": 1}}]}]}`
	list := namedEvents(t, requestWithID(t, e, "/v1/messages", body))
	want := []string{
		"message_start", "content_block_start", "content_block_delta", "content_block_stop",
		"content_block_start", "content_block_delta", "content_block_stop",
		"content_block_start", "content_block_delta", "content_block_stop",
		"message_delta", "message_stop",
	}
	if got := eventNames(list); !slices.Equal(got, want) {
		t.Errorf("events %q", got)
	}
	texts := map[any]string{}
	for _, e := range list {
		for _, member := range []string{"text", "partial_json"} {
			if s, ok := path(e.data, "delta", member).(string); ok {
				texts[e.data["index"]] += s
			}
		}
	}
	if texts[0.0] != "Let me look." || texts[1.0] != `{"query":"a <b> & c"}` || texts[2.0] != "{}" {
		t.Errorf("texts %q", texts)
	}
	first, last := list[0].data, list[len(list)-2].data
	if path(first, "message", "usage", "cache_read_input_tokens") != nil || path(first, "message", "usage", "input_tokens").(float64) < 10 {
		t.Errorf("message_start: %v", first)
	}
	if path(last, "delta", "stop_reason") != "tool_use" || path(last, "usage", "cache_read_input_tokens") != 0.0 {
		t.Errorf("message_delta: %v", last)
	}
	var whole map[string]any
	ask(t, e, "/v1/messages", strings.Replace(body, `"stream":true,`, "", 1), &whole)
	if path(whole, "content", 1, "input", "query") != "a <b> & c" || path(whole, "stop_reason") != "tool_use" {
		t.Errorf("whole: %v", whole)
	}
}

func TestEmbeddings(t *testing.T) {
	e := start(t, Config{PrefillRate: 1000})
	var a map[string]any
	ask(t, e, "/v1/embeddings", `{"model":"m","input":["abcd","abcdefgh"],"dimensions":8}`, &a)
	if path(a, "usage", "prompt_tokens") != 3.0 || path(a, "data", 1, "index") != 1.0 || path(a, "data", 0, "object") != "embedding" {
		t.Errorf("answer %v", a)
	}
	v := path(a, "data", 0, "embedding").([]any)
	norm := 0.0
	for _, x := range v {
		norm += x.(float64) * x.(float64)
	}
	if len(v) != 8 || math.Abs(norm-1) > 1e-6 {
		t.Errorf("vector of %d, length %v", len(v), norm)
	}
	ask(t, e, "/v1/embeddings", `{"input":"abcd","encoding_format":"base64"}`, &a)
	raw, err := base64.StdEncoding.DecodeString(path(a, "data", 0, "embedding").(string))
	if err != nil || len(raw) != 4*defaultDimensions {
		t.Errorf("base64: %d bytes, %v", len(raw), err)
	}
	// Embeddings need prefill, and none of it is cached.
	for _, s := range e.Served() {
		if s.API != Embeddings || s.CachedTokens != 0 || s.OutputTokens != 0 || s.TTFT <= 0 {
			t.Errorf("served %+v", s)
		}
	}
	for _, body := range []string{`{"input":[]}`, `{"input":""}`, `{}`, `{"input":"x","dimensions":-1}`, `{"input":"x","encoding_format":"hex"}`} {
		if res, text := post(t, e, "/v1/embeddings", body); res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s %s", body, res.Status, text)
		}
	}
}

func TestTokenize(t *testing.T) {
	e := start(t, Config{MaxModelLen: 4096})
	var a struct {
		Count       int      `json:"count"`
		MaxModelLen int      `json:"max_model_len"`
		Tokens      []uint32 `json:"tokens"`
		Strs        []string `json:"token_strs"`
	}
	ask(t, e, "/tokenize", `{"prompt":"Grüße there","return_token_strs":true}`, &a)
	if a.Count != 5 || a.MaxModelLen != 4096 || !slices.Equal(a.Tokens, AppendTokens(nil, "Grüße there")) || strings.Join(a.Strs, "|") != "Gr|Ã¼|ÃŁ|eĠth|ere" {
		t.Errorf("completion form: %+v", a)
	}
	var back map[string]string
	ask(t, e, "/detokenize", string(encode(nil, map[string]any{"tokens": a.Tokens})), &back)
	if back["prompt"] != "Grüße there" {
		t.Errorf("detokenized %q", back)
	}
	// The chat form counts the prompt tokens of a chat request.
	ask(t, e, "/tokenize", chatBody("Grüße there", `,"tools":[{"a": 1}]`), &a)
	var chat openAIAnswer
	ask(t, e, "/v1/chat/completions", chatBody("Grüße there", `,"tools":[{"a": 1}]`), &chat)
	if a.Count != chat.Usage.PromptTokens {
		t.Errorf("chat form %d tokens, the request had %d", a.Count, chat.Usage.PromptTokens)
	}
	var plain = a.Count
	ask(t, e, "/tokenize", chatBody("Grüße there", `,"tools":[{"a":1}],"add_generation_prompt":false`), &a)
	if a.Count != plain-4 {
		t.Errorf("without generation prompt %d, with it %d", a.Count, plain)
	}
	for _, body := range []string{`{}`, `{"prompt":["a","b"]}`, `{"messages":[]}`, `{"messages":[{"content":"x"}]}`, `[`} {
		if res, _ := post(t, e, "/tokenize", body); res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", body, res.Status)
		}
	}
}

func TestInfoEndpoints(t *testing.T) {
	e := start(t, Config{Models: []string{"base", "adapter"}, MaxModelLen: 2048})
	for path, want := range map[string]string{
		"/health":  ``,
		"/version": `{"version":"0.30.0+enginesim"}`,
		"/load":    `{"server_load":0}`,
	} {
		if status, body := get(t, e, path); status != http.StatusOK || body != want {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	status, body := get(t, e, "/v1/models")
	var models struct {
		Data []struct {
			ID, Parent string
			MaxLen     int `json:"max_model_len"`
		}
	}
	if err := json.Unmarshal([]byte(body), &models); status != http.StatusOK || err != nil || len(models.Data) != 2 ||
		models.Data[1].ID != "adapter" || models.Data[1].Parent != "base" || models.Data[0].MaxLen != 2048 {
		t.Errorf("models: %s", body)
	}
	for path, want := range map[string]int{"/nothing": 404, "/v1/chat/completions": 405} {
		if status, _ := get(t, e, path); status != want {
			t.Errorf("%s: %d", path, status)
		}
	}
	if res, _ := post(t, e, "/v1/chat/completions", chatBody("x", "")); res.StatusCode != http.StatusNotFound {
		t.Errorf("an unknown model: %s", res.Status)
	}
	if res, _ := post(t, e, "/v1/chat/completions", strings.Replace(chatBody("x", ""), `"m"`, `"adapter"`, 1)); res.StatusCode != http.StatusOK ||
		!strings.HasPrefix(res.Header.Get("Server"), "enginesim") {
		t.Errorf("an adapter: %s, header %v", res.Status, res.Header)
	}
}

func TestMetrics(t *testing.T) {
	e := start(t, Config{Models: []string{"m"}, CacheBlocks: 500, PrefillRate: 1000})
	for range 2 {
		post(t, e, "/v1/completions", `{"prompt":"`+strings.Repeat("four", 300)+`"}`)
	}
	_, body := get(t, e, "/metrics")
	for _, want := range []string{
		`vllm:num_requests_running{engine="0",model_name="m"} 0.0`,
		`vllm:num_requests_waiting{engine="0",model_name="m"} 0.0`,
		`vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.0`,
		`vllm:prefix_cache_queries_total{engine="0",model_name="m"} 600.0`,
		`vllm:prefix_cache_hits_total{engine="0",model_name="m"} 288.0`,
		`vllm:generation_tokens_total{engine="0",model_name="m"} 64.0`,
		`vllm:cache_config_info{block_size="16",enable_prefix_caching="True",num_gpu_blocks="500",engine="0",model_name="m"} 1.0`,
		`vllm:time_to_first_token_seconds_bucket{engine="0",model_name="m",le="0.01"} 0.0`,
		`vllm:time_to_first_token_seconds_bucket{engine="0",model_name="m",le="0.02"} 1.0`,
		`vllm:time_to_first_token_seconds_bucket{engine="0",model_name="m",le="0.5"} 2.0`,
		`vllm:time_to_first_token_seconds_bucket{engine="0",model_name="m",le="+Inf"} 2.0`,
		`vllm:time_to_first_token_seconds_sum{engine="0",model_name="m"} 0.312`,
		"# TYPE vllm:time_to_first_token_seconds histogram",
	} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("no line %s in\n%s", want, body)
		}
	}
	post(t, e, "/reset_prefix_cache", "")
	post(t, e, "/v1/completions", `{"prompt":"`+strings.Repeat("four", 300)+`"}`)
	if got := e.Served()[2].CachedTokens; got != 0 {
		t.Errorf("%d tokens cached after a reset", got)
	}
}
