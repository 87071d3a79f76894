// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// rendition is the answer of the render endpoints.
type rendition struct {
	ID       string          `json:"request_id"`
	Tokens   []uint32        `json:"token_ids"`
	Features json.RawMessage `json:"features"`
	Sampling struct {
		MaxTokens int `json:"max_tokens"`
	} `json:"sampling_params"`
	Model string  `json:"model"`
	Salt  *string `json:"cache_salt"`
}

// tokenized returns the tokens of a chat request, from /tokenize.
func tokenized(t *testing.T, e *Engine, body string) []uint32 {
	t.Helper()
	var a struct{ Tokens []uint32 }
	ask(t, e, "/tokenize", body, &a)
	return a.Tokens
}

// TestRenderIsWhatTheEngineComputes checks that render, /tokenize, usage and events
// agree on a prompt's tokens for all inputs of the template.
func TestRenderIsWhatTheEngineComputes(t *testing.T) {
	e := start(t, Config{Models: []string{"m"}, ScaleOut: true, Events: &EventsConfig{}})
	e.SetTemplateDate("2026-11-22")
	c := subscribed(t, e, 0, "")
	for _, more := range []string{
		"", `,"tools":[{"a": 1}]`, `,"add_generation_prompt":false`, `,"add_generation_prompt":false,"continue_final_message":true`,
		`,"chat_template":"another"`, `,"chat_template_kwargs":{"prefix":"in front"}`, `,"chat_template_kwargs":{"enable_thinking":false}`,
	} {
		body := chatBody(strings.Repeat("some words ", 40), more+`,"max_tokens":1`)
		var r rendition
		ask(t, e, "/v1/chat/completions/render", body, &r)
		if got := tokenized(t, e, body); !slices.Equal(got, r.Tokens) {
			t.Errorf("%s: /tokenize differs from render", more)
		}
		if r.Model != "m" || r.Sampling.MaxTokens != 1 || r.Salt != nil || string(r.Features) != "null" || !strings.HasPrefix(r.ID, "chatcmpl-") {
			t.Errorf("%s: %+v", more, r)
		}
		post(t, e, "/reset_prefix_cache", "")
		c.next() // the event that it is empty
		var a openAIAnswer
		ask(t, e, "/v1/chat/completions", body, &a)
		if a.Usage.PromptTokens != len(r.Tokens) {
			t.Errorf("%s: %d tokens billed, %d rendered", more, a.Usage.PromptTokens, len(r.Tokens))
		}
		_, _, b := c.next()
		stored := b.events[len(b.events)-1].tokens
		if want := r.Tokens[:len(r.Tokens)/16*16]; !slices.Equal(stored, want) {
			t.Errorf("%s: %d tokens stored, %d rendered in full blocks", more, len(stored), len(want))
		}
	}
	if served := e.Stats().Served; served != 7 {
		t.Errorf("%d requests served: rendering is no work", served)
	}
}

func TestRenderCompletionsAndImages(t *testing.T) {
	e := start(t, Config{ScaleOut: true})
	var list []rendition
	ask(t, e, "/v1/completions/render", `{"prompt":["first one","second"],"cache_salt":"s"}`, &list)
	if len(list) != 2 || !slices.Equal(list[0].Tokens, AppendTokens(nil, "first one")) || !slices.Equal(list[1].Tokens, AppendTokens(nil, "second")) ||
		list[0].ID == list[1].ID || list[1].Salt == nil || *list[1].Salt != "s" {
		t.Errorf("completions %+v", list)
	}
	image := func(url string) (r rendition, f struct {
		Hashes map[string][]string                       `json:"mm_hashes"`
		Places map[string][]struct{ Offset, Length int } `json:"mm_placeholders"`
	}) {
		ask(t, e, "/v1/chat/completions/render", `{"messages":[{"role":"user","content":[{"type":"text","text":"look"},{"type":"image_url","image_url":{"url":"`+url+`"}}]}]}`, &r)
		if err := json.Unmarshal(r.Features, &f); err != nil {
			t.Fatal(err)
		}
		return r, f
	}
	r, a := image("a")
	place := a.Places["image"]
	if len(place) != 1 || place[0].Length != imageTokens || r.Tokens[place[0].Offset-1] != tokenImage || r.Tokens[place[0].Offset+place[0].Length] != tokenImageEnd {
		t.Errorf("placeholders %v in %v", place, r.Tokens)
	}
	if _, b := image("b"); len(b.Hashes["image"]) != 1 || b.Hashes["image"][0] == a.Hashes["image"][0] {
		t.Errorf("hashes %v and %v", a.Hashes, b.Hashes)
	}
}

func TestRenderIsOffByDefault(t *testing.T) {
	e := start(t, Config{})
	for _, path := range []string{"/v1/chat/completions/render", "/v1/completions/render", "/v1/messages/render", "/v1/responses/render", "/kv_event_sources"} {
		if path == "/kv_event_sources" {
			if status, _ := get(t, e, path); status != http.StatusNotFound {
				t.Errorf("%s: %d", path, status)
			}
			continue
		}
		if res, _ := post(t, e, path, chatBody("x", `,"prompt":"x"`)); res.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
	on := start(t, Config{ScaleOut: true, Models: []string{"m"}})
	for body, want := range map[string]int{
		`{"model":"other","messages":[{"role":"user","content":"x"}]}`: http.StatusNotFound,
		`{"messages":[]}`:                        http.StatusBadRequest,
		chatBody("x", `,"max_tokens":100000000`): http.StatusBadRequest,
		`[`:                                      http.StatusBadRequest,
	} {
		if res, _ := post(t, on, "/v1/chat/completions/render", body); res.StatusCode != want {
			t.Errorf("%s: %s", body, res.Status)
		}
	}
}

// TestChatTemplate checks that each input of the template appears at its end of the prompt.
func TestChatTemplate(t *testing.T) {
	e := start(t, Config{})
	common := func(a, b []uint32) (n int) {
		for n < min(len(a), len(b)) && a[n] == b[n] {
			n++
		}
		return n
	}
	text := strings.Repeat("some words ", 40)
	plain := tokenized(t, e, chatBody(text, ""))
	for more, inFront := range map[string]bool{
		`,"chat_template":"another"`:                                   true,
		`,"chat_template_kwargs":{"prefix":"p"}`:                       true,
		`,"tools":[{}]`:                                                true,
		`,"chat_template_kwargs":{"enable_thinking":false}`:            false,
		`,"add_generation_prompt":false`:                               false,
		`,"add_generation_prompt":false,"continue_final_message":true`: false,
	} {
		got := tokenized(t, e, chatBody(text, more))
		if n := common(plain, got); slices.Equal(plain, got) || (n < 8) != inFront {
			t.Errorf("%s: the first %d of %d tokens are the same", more, n, len(plain))
		}
	}
	for _, more := range []string{`,"chat_template_kwargs":{"unknown":1,"enable_thinking":true}`, `,"add_generation_prompt":true`, `,"chat_template_kwargs":null`} {
		if !slices.Equal(plain, tokenized(t, e, chatBody(text, more))) {
			t.Errorf("%s changes the tokens", more)
		}
	}
	e.SetTemplateDate("2026-11-22")
	first := tokenized(t, e, chatBody(text, ""))
	e.SetTemplateDate("2026-11-23")
	second := tokenized(t, e, chatBody(text, ""))
	if len(first) != len(second) || common(first, second) > 8 || common(plain, first) > 1 {
		t.Error("the date does not show, or not in front")
	}
	e.SetTemplateDate("")
	if !slices.Equal(plain, tokenized(t, e, chatBody(text, ""))) {
		t.Error("without a date the template is another than before")
	}
	for _, more := range []string{`,"continue_final_message":true`, `,"chat_template_kwargs":{"prefix":1}`, `,"chat_template_kwargs":[]`} {
		for _, path := range []string{"/tokenize", "/v1/chat/completions"} {
			if res, _ := post(t, e, path, chatBody(text, more)); res.StatusCode != http.StatusBadRequest {
				t.Errorf("%s %s: %s", path, more, res.Status)
			}
		}
	}
}

func TestSpelling(t *testing.T) {
	for spelling, want := range map[string]string{
		SpellBytes:    "<|start|>|user|Ċ|aĠb|ÃŁ|Ċ|<|end|>|<|start|>|assi|stan|t",
		SpellSentence: "<|start|>|user|<0x0A>|a▁b|ß|<0x0A>|<|end|>|<|start|>|assi|stan|t",
		SpellText:     "<|start|>|user|\n|a b|ß|\n|<|end|>|<|start|>|assi|stan|t",
	} {
		e := start(t, Config{Spelling: spelling})
		var a struct {
			Tokens []uint32
			Strs   []string `json:"token_strs"`
		}
		ask(t, e, "/tokenize", chatBody("a bß\n", `,"return_token_strs":true`), &a)
		if got := strings.Join(a.Strs, "|"); !strings.HasPrefix(got, want) || len(a.Strs) != len(a.Tokens) {
			t.Errorf("%s: %s", spelling, got)
		}
		ask(t, e, "/tokenize", `{"messages":[{"role":"user","content":[{"type":"image_url"}]}],"return_token_strs":true}`, &a)
		if got := strings.Join(a.Strs, ""); !strings.Contains(got, "<|image|><|image_pad|>") || !strings.Contains(got, "<|image_pad|><|image_end|>") {
			t.Errorf("%s: %s", spelling, got)
		}
		ask(t, e, "/tokenize", `{"prompt":[4026531840],"return_token_strs":true}`, &a)
		if !slices.Equal(a.Strs, []string{"<unk>"}) {
			t.Errorf("%s: an unknown token is %q", spelling, a.Strs)
		}
	}
	if _, err := New(Config{Spelling: "runes"}); err == nil {
		t.Error("a spelling that does not exist")
	}
}
