// SPDX-License-Identifier: Apache-2.0

package tokenize

import (
	"encoding/json"
	"io"
	"testing"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
)

// All members that affect the chat template are copied unchanged, and no others.
func TestTokenizeBody(t *testing.T) {
	for _, c := range []struct {
		api        prompt.API
		body, want string
		exact      bool
	}{
		{prompt.Chat, `{ "model" : "m", "stream":true, "messages": [ {"role":"user","content":"\"é\u00e9\\"} ] ,"temperature":0.50}`,
			`{"return_token_strs":true,"model":"m","messages":[ {"role":"user","content":"\"é\u00e9\\"} ]}`, true},
		{prompt.Chat, `{"messages":[],"tools":[{"a":1}],"chat_template":"x","chat_template_kwargs":{"b":{}},"add_generation_prompt":false,"continue_final_message":true,"add_special_tokens":true,"media_io_kwargs":{},"mm_processor_kwargs":{},"return_token_strs":false}`,
			`{"return_token_strs":true,"messages":[],"tools":[{"a":1}],"chat_template":"x","chat_template_kwargs":{"b":{}},"add_generation_prompt":false,"continue_final_message":true,"add_special_tokens":true,"media_io_kwargs":{},"mm_processor_kwargs":{}}`, true},
		{prompt.Chat, `{"mess\u0061ges":[],"tools":null,"documents":null,"tool_choice":"auto"}`, `{"return_token_strs":true,"messages":[]}`, true},
		{prompt.Chat, `{"messages":[],"tool_choice":"none"}`, `{"return_token_strs":true,"messages":[]}`, false},
		{prompt.Chat, `{"messages":[{"content":["a",{"type":"text","text":"b"},{"text":"c"},{"type":"refusal","refusal":"d"}]},{"content":null},{}]}`,
			`{"return_token_strs":true,"messages":[{"content":["a",{"type":"text","text":"b"},{"text":"c"},{"type":"refusal","refusal":"d"}]},{"content":null},{}]}`, true},
		{prompt.Chat, `{"messages":[{"content":[{"image":"x"}]}]}`, `{"return_token_strs":true,"messages":[{"content":[{"image":"x"}]}]}`, false},
		{prompt.Chat, `{"messages":[{"content":[{"type":7,"text":"x"}]}]}`, `{"return_token_strs":true,"messages":[{"content":[{"type":7,"text":"x"}]}]}`, false},
		{prompt.Completions, `{"model":"m","prompt":["a"],"add_special_tokens":false,"tools":[]}`, `{"return_token_strs":true,"model":"m","prompt":"a","add_special_tokens":false}`, true},
		{prompt.Completions, `{"prompt":"a","suffix":"b"}`, `{"return_token_strs":true,"prompt":"a"}`, false},
	} {
		q, err := parseRequest(c.api, []byte(c.body))
		if err != nil {
			t.Errorf("%s: %v", c.body, err)
			continue
		}
		for range 2 { // for GetBody
			r, size := q.open(endpointTokenize)
			got, _ := io.ReadAll(r)
			if string(got) != c.want || size != int64(len(got)) || q.exact != c.exact || !json.Valid(got) {
				t.Errorf("%s:\n got %s, %d bytes, exact %t\nwant %s, exact %t", c.body, got, size, q.exact, c.want, c.exact)
			}
		}
		r, size := q.open(endpointRender)
		if got, _ := io.ReadAll(r); string(got) != c.body || size != int64(len(c.body)) {
			t.Errorf("rendered is %s", got)
		}
	}
}

// For any valid body the request to the endpoint is valid and has the prompt.
func FuzzParseRequest(f *testing.F) {
	f.Add([]byte(chatBody), uint8(prompt.Chat))
	f.Add([]byte(`{"prompt":["a"],"x":[{"y":1e5}]}`), uint8(prompt.Completions))
	f.Add([]byte(`{"input":"a","previous_response_id":null}`), uint8(prompt.Responses))
	f.Add([]byte(`{"messages":[{"role":"user","content":[{"type":"tool_result","content":[{"type":"image"}]}]}]}`), uint8(prompt.Messages))
	f.Fuzz(func(t *testing.T, body []byte, number uint8) {
		api := prompt.API(number % uint8(prompt.NumAPIs))
		name := api.Dialect().Prompt
		q, err := parseRequest(api, body)
		if err != nil {
			return
		}
		if !json.Valid(body) {
			t.Fatalf("%q counts as a request", body)
		}
		if api.Dialect().TokenizeMembers == nil {
			if q.exact {
				t.Fatalf("%q is asked for at /tokenize", body)
			}
			return
		}
		r, _ := q.open(endpointTokenize)
		got, _ := io.ReadAll(r)
		var members map[string]json.RawMessage
		if json.Unmarshal(got, &members) != nil || members[name] == nil || string(members["return_token_strs"]) != "true" {
			t.Fatalf("%q: the request is %q", body, got)
		}
	})
}
