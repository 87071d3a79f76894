// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestBadRequests(t *testing.T) {
	e := start(t, Config{})
	for path, bodies := range map[string][]string{
		"/v1/chat/completions": {
			``, `null`, `[]`, `{"messages":[]}`, `{"messages":"x"}`, `{"messages":[{"role":"user","content":3}]}`,
			`{"messages":[{"role":"user","content":[3]}]}`, `{"messages":[{"content":"x"}]}`, `{"messages":[{"role":"user","content":"x"}]`,
			chatBody("x", `,"stream_options":{"include_usage":true}`), chatBody("x", `,"cache_salt":""`),
			chatBody("x", `,"cache_salt":"`+strings.Repeat("s", 1025)+`"`), chatBody("x", `,"n":2`), chatBody("x", `,"max_tokens":-1`),
			"{\"messages\":[{\"role\":\"user\",\"content\":\"\xff\"}]}",
		},
		"/v1/completions": {`{}`, `{"prompt":null}`, `{"prompt":""}`, `{"prompt":[]}`, `{"prompt":[1.5]}`, `{"prompt":[[]]}`, `{"prompt":{"a":1}}`},
		"/v1/responses":   {`{}`, `{"input":null}`, `{"input":[]}`, `{"input":[3]}`, `{"input":[{"content":"x"}]}`, `{"input":[{"type":"function_call_output","output":4}]}`},
		"/v1/messages":    {`{"messages":[{"role":"user","content":"x"}],"system":4}`, `{"messages":[{"role":"user","content":[{"type":"tool_result","content":7}]}]}`},
	} {
		for _, body := range bodies {
			res, text := post(t, e, path, body)
			if res.StatusCode != http.StatusBadRequest || !strings.Contains(text, `"BadRequestError"`) {
				t.Errorf("%s %.100s: %s %s", path, body, res.Status, text)
			}
		}
	}
	if s := e.Stats(); s.Served != 0 || s.Cancelled != 0 {
		t.Errorf("a bad request was worked on: %+v", s)
	}
}

// FuzzRequest checks that for any body the node answers with JSON or a whole stream,
// never panics or hangs, and counts prompts correctly.
func FuzzRequest(f *testing.F) {
	paths := []string{"/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/v1/embeddings", "/tokenize", "/detokenize", "/v1/messages/count_tokens",
		"/v1/chat/completions/render", "/v1/completions/render"}
	for i := range paths {
		f.Add(uint8(i), []byte(chatBody("x", `,"prompt":"y","input":["z"],"tokens":[1]`)))
		f.Add(uint8(i), []byte(chatBody("x", `,"stream":true,"prompt":[[1,2]],"input":[{"role":"user","content":[{"type":"text"}]}]`)))
		f.Add(uint8(i), []byte(chatBody("x", `,"return_token_strs":true,"chat_template":"t","chat_template_kwargs":{"prefix":"p","enable_thinking":false},"add_generation_prompt":false,"continue_final_message":true`)))
		f.Add(uint8(i), []byte(`{"messages":[{"role":"a","content":null,"tool_calls":[{"function":{"name":"f","arguments":"{"}}]}],"tools":{"a":[]},"max_tokens":1,"ignore_eos":true}`))
	}
	e, err := New(Config{Speed: 1e6, CacheBlocks: 64, ScaleOut: true, Events: &EventsConfig{}, Responder: func(r Request) Reply {
		reply := toolReply(r)
		reply.Text = r.LastUser
		return reply
	}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(e.Close)
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		path := paths[int(which)%len(paths)]
		w := httptest.NewRecorder()
		e.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body)))
		switch {
		case w.Code != http.StatusOK && w.Code != http.StatusBadRequest:
			t.Fatalf("status %d", w.Code)
		case strings.HasPrefix(w.Header().Get("Content-Type"), "text/event-stream"):
			for _, record := range records(t, w.Body.String()) {
				if _, data, ok := strings.Cut(record, "data: "); !ok || data != "[DONE]" && !json.Valid([]byte(data)) {
					t.Fatalf("record %q", record)
				}
			}
		case !json.Valid(w.Body.Bytes()):
			t.Fatalf("answer %q", w.Body.String())
		}
		if running, waiting := e.Stats().Running, e.Stats().Waiting; running+waiting != 0 {
			t.Fatalf("%d running, %d waiting", running, waiting)
		}
	})
}
