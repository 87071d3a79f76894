// SPDX-License-Identifier: Apache-2.0

package prompt

import (
	"encoding/json"
	"testing"
)

// dialectExamples has one body an API and its prompt, as the texts are listed.
var dialectExamples = [NumAPIs]struct{ body, texts string }{
	Unknown:     {`{"b":"x y","a":"z"}`, "key:b | x y | key:a | z"},
	Chat:        {`{"messages":[{"role":"user","content":"x y"}],"tools":[{"type":"function","description":"a tool"}]}`, "a tool | x y"},
	Completions: {`{"prompt":"x y","suffix":"z"}`, "x y | z"},
	Responses:   {`{"input":"x y","instructions":"be kind"}`, "be kind | x y"},
	Messages:    {`{"messages":[{"role":"user","content":"x y"}],"system":"be kind"}`, "be kind | x y"},
	Embeddings:  {`{"input":["x","y"]}`, "1:x | 2:y"},
	Rerank:      {`{"documents":["x","y"],"query":"z"}`, "1:z | 2:x | 3:y"},
	Score:       {`{"text_2":"y","text_1":"x"}`, "1:x | 2:y"},
	Tokenize:    {`{"prompt":"x y"}`, "1:x y"},
	Other:       {`{"b":"x y","a":"z"}`, "key:b | x y | key:a | z"},
}

// Every API has a complete row, and its prompt is listed in its order.
func TestDialects(t *testing.T) {
	names := map[string]bool{}
	for api := range NumAPIs {
		d := dialects[api]
		if d == nil || d.Name == "" || d.list == nil || names[d.Name] {
			t.Fatalf("the row of API %d is incomplete: %+v", api, d)
		}
		names[d.Name] = true
		if (len(d.Suffixes) == 0) != d.AnyJSON {
			t.Errorf("%v has the suffixes %q", api, d.Suffixes)
		}
		for _, suffix := range d.Suffixes {
			if got := ByPath("/prefix" + suffix + "/"); got != api {
				t.Errorf("the suffix %s leads to %v, want %v", suffix, got, api)
			}
		}
		checkSignableRow(t, api, d)
		example := dialectExamples[api]
		if got := listed(parsed(t, api, example.body)); got != example.texts {
			t.Errorf("%v lists %s, want %s", api, got, example.texts)
		}
	}
	if API(99).String() != "unknown" {
		t.Errorf("a number that is no API has the name %v", API(99))
	}
}

// checkSignableRow checks the fields of a dialect that the router sends
// requests of its own for.
func checkSignableRow(t *testing.T, api API, d *Dialect) {
	t.Helper()
	if has := d.Path != "" && len(d.OneToken) > 0 && d.Prompt != ""; has != d.Signable {
		t.Errorf("%v: signable is %v, but path %q, prompt %q, one token %v", api, d.Signable, d.Path, d.Prompt, d.OneToken)
	}
	if d.Path != "" && ByPath(d.Path) != api {
		t.Errorf("the path %s leads to %v, want %v", d.Path, ByPath(d.Path), api)
	}
	if d.TokenizeMembers != nil && (d.RenderPath == "" || !d.TokenizeMembers[d.Prompt]) {
		t.Errorf("%v renders at %q and tokenizes %v", api, d.RenderPath, d.TokenizeMembers)
	}
	if d.RenderPath != "" && ByPath(d.RenderPath) != Tokenize {
		t.Errorf("the path %s leads to %v", d.RenderPath, ByPath(d.RenderPath))
	}
	for _, member := range d.StoredBy {
		if lookup([]byte(member)) == nameNone {
			t.Errorf("%v: %s is no known member", api, member)
		}
	}
	for name, value := range d.OneToken {
		if !json.Valid([]byte(value)) {
			t.Errorf("%v sets %s to %s, which is not JSON", api, name, value)
		}
	}
}

func TestByPath(t *testing.T) {
	for path, want := range map[string]API{
		"/v1/chat/completions": Chat, "/llama/v1/chat/completions/": Chat, "/chat/completions": Chat,
		"/v1/completions": Completions, "/v1/responses": Responses, "/v1/messages": Messages,
		"/v1/messages/count_tokens": Tokenize, "/v1/embeddings": Embeddings, "/pooling": Embeddings,
		"/classify": Embeddings, "/v1/rerank": Rerank, "/v2/rerank": Rerank, "/rerank": Rerank, "/score": Score,
		"/tokenize": Tokenize, "/detokenize": Other, "/v1/chat/completions/render": Tokenize,
		"/v1/completions/render": Tokenize, "/v1/models": Other, "/": Other, "": Other, "/generate": Other,
		"/v1/audio/speech": Other, "/xcompletions": Other, "/v1/chat/completions/x": Other,
	} {
		if got := ByPath(path); got != want {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
	}
}

func TestErrorShapeOf(t *testing.T) {
	for path, want := range map[string]ErrorShape{
		"/v1/messages": AnthropicError, "/a/v1/messages/": AnthropicError, "/v1/messages/count_tokens": AnthropicError,
		"/v1/messages/batches": AnthropicError, "/v1/chat/completions": OpenAIError, "/v1/messagesx": OpenAIError,
		"/xmessages": OpenAIError, "/": OpenAIError, "": OpenAIError,
	} {
		if got := ErrorShapeOf(path); got != want {
			t.Errorf("%q has shape %d, want %d", path, got, want)
		}
	}
}
