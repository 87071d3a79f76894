// SPDX-License-Identifier: Apache-2.0

package answer

import (
	"bytes"
	"fmt"
	"testing"
	"time"
)

// sse makes a stream of events.
func sse(events ...string) []byte {
	var b bytes.Buffer
	for _, e := range events {
		fmt.Fprintf(&b, "data: %s\n\n", e)
	}
	return b.Bytes()
}

// streams are transcripts with the reports to the observer. token is the index of
// the event with the first token, -1 for none.
var streams = []struct {
	name     string
	events   []string
	token    int
	usage    *Usage
	finishes []bool
}{
	{
		name: "vLLM chat with include_usage",
		events: []string{
			`{"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}`,
			`{"id":"c","choices":[{"index":0,"delta":{"content":" Hi"},"logprobs":null,"finish_reason":null}]}`,
			`{"id":"c","choices":[{"index":0,"delta":{"content":"!"},"finish_reason":"stop","stop_reason":null}]}`,
			`{"id":"c","choices":[],"usage":{"prompt_tokens":20,"total_tokens":22,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":16}}}`,
			`[DONE]`,
		},
		token: 1, usage: &Usage{PromptTokens: 20, CompletionTokens: 2, CachedTokens: 16, Cached: true}, finishes: []bool{false},
	},
	{
		name: "reasoning first, usage in every chunk, no details",
		events: []string{
			`{"choices":[{"index":0,"delta":{"role":"assistant"}}],"usage":{"prompt_tokens":20,"completion_tokens":0}}`,
			`{"choices":[{"index":0,"delta":{"content":null,"reasoning_content":""}}],"usage":{"prompt_tokens":20,"completion_tokens":1}}`,
			`{"choices":[{"index":0,"delta":{"reasoning_content":"hm"}}],"usage":{"prompt_tokens":20,"completion_tokens":2,"prompt_tokens_details":null}}`,
			`{"choices":[{"index":0,"delta":{},"finish_reason":"length"}],"usage":null}`,
			`[DONE]`,
		},
		token: 2, usage: &Usage{PromptTokens: 20, CompletionTokens: 2}, finishes: []bool{false},
	},
	{
		name: "tool calls, two choices, no usage",
		events: []string{
			`{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"t","function":{"name":"f","arguments":""}}]},"index":1}]}`,
			`{"choices":[{"delta":{"content":"x"},"index":0}]}`,
			`{"choices":[{"delta":{},"finish_reason":"tool_calls","index":1}]}`,
			`{"choices":[{"delta":{},"finish_reason":"stop","index":0}]}`,
			`[DONE]`,
		},
		token: 0, finishes: []bool{true},
	},
	{
		name: "two choices of which one has not ended",
		events: []string{
			`{"choices":[{"delta":{"content":"x"},"index":0}]}`,
			`{"choices":[{"delta":{"content":"x"},"index":1}]}`,
			`{"choices":[{"delta":{},"finish_reason":"stop","index":0}]}`,
		},
		token: 0,
	},
	{
		name:   "an error in the middle",
		events: []string{`{"choices":[{"delta":{"content":"x"},"index":0}]}`, `{"error":{"message":"out of memory"}}`, `[DONE]`},
		token:  0,
	},
	{
		name: "llama.cpp chat without DONE",
		events: []string{
			`{"choices":[{"index":0,"delta":{"role":"assistant","content":null}}],"prompt_progress":{"total":9,"cache":0}}`,
			`{"choices":[{"index":0,"delta":{"content":"x"}}]}`,
			`{"choices":[{"finish_reason":"stop","index":0,"delta":{}}],"timings":{"cache_n":1000,"prompt_n":24,"prompt_ms":31.5,"predicted_n":2,"predicted_ms":9}}`,
		},
		token:    1,
		usage:    &Usage{PromptTokens: 1024, CompletionTokens: 2, CachedTokens: 1000, Cached: true, PrefillTokens: 24, PrefillTime: 31500 * time.Microsecond},
		finishes: []bool{false},
	},
	{
		name: "completions",
		events: []string{
			`{"choices":[{"index":0,"text":"","finish_reason":null}]}`,
			`{"choices":[{"index":0,"text":"x","finish_reason":null}]}`,
			`{"choices":[{"index":0,"text":"","finish_reason":"stop"}]}`,
			`[DONE]`,
		},
		token: 1, finishes: []bool{false},
	},
	{
		name: "responses with a call",
		events: []string{
			`{"type":"response.created","response":{"status":"in_progress","usage":null,"output":[]}}`,
			`{"type":"response.output_item.added","output_index":0,"item":{"type":"reasoning","id":"i"}}`,
			`{"delta":"hm","output_index":0,"type":"response.reasoning_text.delta"}`,
			`{"type":"response.output_item.added","output_index":1,"item":{"type":"function_call","arguments":""}}`,
			`{"type":"response.output_item.done","output_index":1,"item":{"type":"function_call","arguments":"{}"}}`,
			`{"type":"response.completed","response":{"status":"completed","output":[{"type":"reasoning"},{"type":"function_call"}],"usage":{"input_tokens":36,"input_tokens_details":{"cached_tokens":32},"output_tokens":87,"total_tokens":123}}}`,
		},
		token: 2, usage: &Usage{PromptTokens: 36, CompletionTokens: 87, CachedTokens: 32, Cached: true}, finishes: []bool{true},
	},
	{
		name: "odd shapes are no reason to stop",
		events: []string{
			`{"type":"response.output_item.added","item":"x"}`,
			`{"type":"response.output_item.added","item":{"id":"i","type":7}}`,
			`{"type":"message_start","message":[]}`,
			`{"type":"message_start","message":{"id":"m","usage":7}}`,
			`{"type":"content_block_start","content_block":7}`,
			`{"type":"content_block_start","content_block":{"type":"text","text":""}}`,
			`{"type":"message_delta","delta":7}`,
			`{"type":"message_delta","delta":{"stop_sequence":"x","stop_reason":null}}`,
			`{"choices":[7,{"delta":7},{"delta":{"tool_calls":7,"function_call":7}},{"delta":{"tool_calls":[7]}}]}`,
			`{"choices":7,"usage":{"prompt_tokens":5}}`,
			`{"type":"response.completed","response":7}`,
			`{"type":"response.completed","response":{"output":7}}`,
			`{"type":"response.completed","response":{"output":[7,{"type":"message"}]}}`,
			`{"type":"content_block_start","content_block":{"type":"text","text":"x"}}`,
		},
		token: 13, usage: &Usage{PromptTokens: 5}, // the choice has not ended
	},
	{
		name: "responses that failed",
		events: []string{
			`{"type":"response.created","response":{}}`,
			`{"type":"response.failed","response":{"status":"failed","error":{"code":"server_error"},"usage":null}}`,
		},
		token: -1,
	},
	{
		name: "anthropic, cache known at the end only",
		events: []string{
			`{"type":"message_start","message":{"content":[],"usage":{"input_tokens":100,"output_tokens":0}}}`,
			`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`,
			`{"type":"ping"}`,
			`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}}`,
			`{"type":"content_block_stop","index":0}`,
			`{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":4,"cache_read_input_tokens":96,"cache_creation_input_tokens":0,"output_tokens":5}}`,
			`{"type":"message_stop"}`,
		},
		token: 3, usage: &Usage{PromptTokens: 100, CompletionTokens: 5, CachedTokens: 96, Cached: true}, finishes: []bool{false},
	},
	{
		name: "anthropic tool use",
		events: []string{
			`{"type":"message_start","message":{"usage":{"input_tokens":4,"cache_read_input_tokens":0,"cache_creation_input_tokens":90,"output_tokens":1}}}`,
			`{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}`,
			`{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":""}}`,
			`{"type":"content_block_stop","index":0}`,
			`{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":9}}`,
			`{"type":"message_stop"}`,
		},
		token: 1, usage: &Usage{PromptTokens: 94, CompletionTokens: 9, Cached: true}, finishes: []bool{true},
	},
	{
		name: "llama.cpp completions",
		events: []string{
			`{"index":0,"content":"","tokens":[],"stop":false}`,
			`{"index":0,"content":"x","tokens":[1],"stop":false}`,
			`{"index":0,"content":"","stop":true,"timings":{"cache_n":3,"prompt_n":4,"prompt_ms":2.5,"predicted_n":6}}`,
		},
		token:    1,
		usage:    &Usage{PromptTokens: 7, CompletionTokens: 6, CachedTokens: 3, Cached: true, PrefillTokens: 4, PrefillTime: 2500 * time.Microsecond},
		finishes: []bool{false},
	},
	{
		name: "an engine that is not to be believed",
		events: []string{
			`{"choices":[{"index":-5,"delta":{"content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":-1,"completion_tokens":99999999999999999999,"prompt_tokens_details":{"cached_tokens":1.5}}}`,
			`{"choices":[{"index":4294967296,"delta":{}}],"usage":{"prompt_tokens":8,"prompt_tokens_details":{"cached_tokens":9}},"timings":{"prompt_n":3,"prompt_ms":-4,"cache_n":"1"}}`,
			`{"choices":[],"usage":{"prompt_tokens":"7","prompt_tokens_details":[]},"timings":[]}`,
			`{"choices":[],"usage":{"prompt_tokens":1e2},"timings":{"prompt_ms":1e300}}`,
		},
		token: 0, usage: &Usage{PromptTokens: 8},
		finishes: nil,
	},
}

func TestObserveStreams(t *testing.T) {
	for _, c := range streams {
		t.Run(c.name, func(t *testing.T) {
			for _, p := range []Placeholders{nil, newVault("[EMAIL_1]", "x")} {
				w := &watcher{t: t}
				var out bytes.Buffer
				s := NewStream(&out, p, w)
				for i, e := range c.events {
					if _, err := s.Write(sse(e)); err != nil {
						t.Fatal(err)
					}
					if reported := w.tokens > 0; reported != (c.token >= 0 && i >= c.token) {
						t.Errorf("after event %d: first token reported: %v", i, reported)
					}
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				w.check(t, min(c.token+1, 1), c.usage, c.finishes...)
				if !bytes.Equal(out.Bytes(), sse(c.events...)) {
					t.Error("the stream was changed")
				}
				w = &watcher{t: t}
				through(t, p, w, bytewise(sse(c.events...))...)
				w.check(t, min(c.token+1, 1), c.usage, c.finishes...)
			}
		})
	}
}

// Usage comes with the last event and not with the end of the connection, which a
// server may keep open.
func TestUsageWithTheLastEvent(t *testing.T) {
	for _, c := range streams {
		last := c.events[len(c.events)-1]
		if last != "[DONE]" && !bytes.Contains([]byte(last), []byte("message_stop")) && !bytes.Contains([]byte(last), []byte("response.completed")) {
			continue
		}
		w := &watcher{t: t}
		s := NewStream(&bytes.Buffer{}, nil, w)
		if _, err := s.Write(sse(c.events...)); err != nil {
			t.Fatal(err)
		}
		w.check(t, min(c.token+1, 1), c.usage, c.finishes...)
	}
}

// FirstToken comes before the write, which a slow client may delay.
func TestFirstTokenBeforeWrite(t *testing.T) {
	for _, p := range []Placeholders{nil, newVault("[EMAIL_1]", "x")} {
		var out bytes.Buffer
		w := &watcher{t: t}
		w.tokenSeen = func() {
			if out.Len() > 0 {
				t.Error("the first token was reported after the write")
			}
		}
		s := NewStream(&out, p, w)
		if _, err := s.Write(sse(`{"choices":[{"index":0,"text":"x"}]}`)); err != nil {
			t.Fatal(err)
		}
		if w.tokens != 1 || out.Len() == 0 {
			t.Errorf("%d tokens reported, %d bytes written", w.tokens, out.Len())
		}
	}
}

// Impossible numbers do not count.
func TestCounts(t *testing.T) {
	for _, c := range []struct {
		usage, timings string
		want           Usage
	}{
		{`{"prompt_tokens":0,"completion_tokens":0}`, `{}`, Usage{}},
		{`{"prompt_tokens":5,"prompt_tokens_details":{"cached_tokens":0}}`, `{}`, Usage{PromptTokens: 5, Cached: true}},
		{`{"prompt_tokens":5,"prompt_tokens_details":{"cached_tokens":null}}`, `{}`, Usage{PromptTokens: 5}},
		{`{"prompt_tokens":5,"prompt_tokens_details":{"audio_tokens":1}}`, `{}`, Usage{PromptTokens: 5}},
		{`{"prompt_tokens":5,"prompt_tokens_details":{"cached_tokens":6}}`, `{}`, Usage{PromptTokens: 5}},
		{`{"prompt_tokens":5,"prompt_tokens_details":{"cached_tokens":-1}}`, `{}`, Usage{PromptTokens: 5}},
		{`{"prompt_tokens":268435457}`, `{}`, Usage{}},
		{`{"prompt_tokens":268435456}`, `{}`, Usage{PromptTokens: 1 << 28}},
		{`{"input_tokens":5,"output_tokens":6}`, `{}`, Usage{PromptTokens: 5, CompletionTokens: 6}},
		{`{"input_tokens":5,"input_tokens_details":{"cached_tokens":4},"cache_read_input_tokens":4}`, `{}`, Usage{PromptTokens: 5, CachedTokens: 4, Cached: true}},
		{`{"prompt_tokens":50,"prompt_tokens_details":{"cached_tokens":0}}`, `{"cache_n":40,"prompt_n":10,"prompt_ms":1}`,
			Usage{PromptTokens: 50, CachedTokens: 40, Cached: true, PrefillTokens: 10, PrefillTime: time.Millisecond}},
		{`null`, `{"prompt_n":0,"prompt_ms":1}`, Usage{}},
		{`3`, `{"prompt_n":9,"prompt_ms":"1"}`, Usage{}},
		{`{}`, `{"prompt_n":9,"prompt_ms":NaN}`, Usage{}},
		{`{}`, `{"prompt_n":9,"prompt_ms":86400001}`, Usage{}},
	} {
		var n counts
		n.readUsage(&cursor{b: []byte(c.usage)})
		n.readTimings(&cursor{b: []byte(c.timings)})
		if got, ok := n.usage(); got != c.want || ok != (c.want != Usage{}) {
			t.Errorf("%s %s: %+v, %v, want %+v", c.usage, c.timings, got, ok, c.want)
		}
	}
}
