// SPDX-License-Identifier: Apache-2.0

package tokenize

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
)

// fakeEngine gives prepared answers, by path.
type fakeEngine struct {
	answers map[string]string // status and body; "404" when there is none

	mu    sync.Mutex
	paths []string
	body  string // of the last request
}

func (f *fakeEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	f.paths, f.body = append(f.paths, r.URL.Path), string(body)
	answer, ok := f.answers[r.URL.Path]
	f.mu.Unlock()
	if !ok {
		answer = `404 {"detail":"Not Found"}`
	}
	status := 0
	fmt.Sscan(answer, &status)
	w.Header().Set("Content-Type", "application/json")
	if status/100 == 3 {
		w.Header().Set("Location", "/elsewhere")
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, strings.TrimSpace(strings.TrimLeft(answer, "0123456789")))
}

// set changes the answers and returns the paths requested until now.
func (f *fakeEngine) set(answers map[string]string) (paths []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	paths, f.paths = f.paths, nil
	if answers != nil {
		f.answers = answers
	}
	return paths
}

const (
	chatRender = "/v1/chat/completions/render"
	textRender = "/v1/completions/render"

	messagesRender  = "/v1/messages/render"
	responsesRender = "/v1/responses/render"

	tokenizeOK = `200 {"count":2,"max_model_len":9,"tokens":[5,6],"token_strs":["Ġa","b"]}`
	renderOK   = `200 {"token_ids":[5,6,7],"features":null}`
	chatBody   = `{"model":"m","messages":[{"role":"user","content":"a"}]}`
)

func start(t *testing.T, answers map[string]string) (*Fetcher, *fakeEngine, string) {
	t.Helper()
	f := &fakeEngine{answers: answers}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	transport := NewTransport()
	t.Cleanup(transport.CloseIdleConnections)
	return &Fetcher{Transport: transport}, f, server.Listener.Addr().String()
}

// A request that /tokenize takes goes there, others go to render. With only one of the
// two there, as many requests as possible are answered.
func TestFetchChoosesTheEndpoint(t *testing.T) {
	image := `{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"x"}}]}]}`
	both := map[string]string{
		"/tokenize": tokenizeOK, chatRender: renderOK, textRender: `200 [` + renderOK[4:] + `]`, messagesRender: renderOK, responsesRender: renderOK,
	}
	only := func(path string) map[string]string { return map[string]string{path: both[path]} }
	for _, c := range []struct {
		name    string
		api     prompt.API
		body    string
		answers map[string]string
		paths   []string
		ids     int
		err     error
	}{
		{"chat", prompt.Chat, chatBody, both, []string{"/tokenize"}, 2, nil},
		{"completion", prompt.Completions, `{"prompt":"a"}`, both, []string{"/tokenize"}, 2, nil},
		{"image", prompt.Chat, image, both, []string{chatRender}, 3, nil},
		{"documents", prompt.Chat, `{"messages":[],"documents":[{}]}`, both, []string{chatRender}, 3, nil},
		{"truncated", prompt.Completions, `{"prompt":"a","truncate_prompt_tokens":5}`, both, []string{textRender}, 3, nil},
		{"no tokenize", prompt.Chat, chatBody, only(chatRender), []string{"/tokenize", chatRender}, 3, nil},
		{"no tokenize, completion", prompt.Completions, `{"prompt":"a"}`, only(textRender), []string{"/tokenize", textRender}, 3, nil},
		{"no render", prompt.Chat, chatBody, only("/tokenize"), []string{"/tokenize"}, 2, nil},
		{"no render, image", prompt.Chat, image, only("/tokenize"), []string{chatRender}, 0, ErrUnavailable},
		{"nothing", prompt.Chat, chatBody, nil, []string{"/tokenize", chatRender}, 0, ErrUnavailable},
		{"declined", prompt.Chat, chatBody, map[string]string{"/tokenize": "400 {}", chatRender: renderOK}, []string{"/tokenize", chatRender}, 3, nil},
		{"declined twice", prompt.Chat, chatBody, map[string]string{"/tokenize": "400 {}", chatRender: "422 {}"}, []string{"/tokenize", chatRender}, 0, ErrDeclined},
		{"unknown model", prompt.Chat, chatBody, map[string]string{"/tokenize": `404 {"error":{"type":"NotFoundError"}}`}, []string{"/tokenize", chatRender}, 0, ErrDeclined},
		{"failing", prompt.Chat, chatBody, map[string]string{"/tokenize": "500 x", chatRender: renderOK}, []string{"/tokenize"}, 0, ErrBusy},
		{"overloaded", prompt.Chat, chatBody, map[string]string{"/tokenize": "429 x"}, []string{"/tokenize"}, 0, ErrBusy},
		{"redirect", prompt.Chat, chatBody, map[string]string{"/tokenize": "302 x"}, []string{"/tokenize"}, 0, ErrAnswer},
		{"nonsense", prompt.Chat, chatBody, map[string]string{"/tokenize": "200 hello"}, []string{"/tokenize"}, 0, ErrAnswer},
		{"nothing in it (llama.cpp)", prompt.Chat, chatBody, map[string]string{"/tokenize": `200 {"tokens":[]}`}, []string{"/tokenize"}, 0, ErrAnswer},
		{"messages", prompt.Messages, `{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"a"}]}`, both, []string{messagesRender}, 3, nil},
		{"messages without render", prompt.Messages, `{"messages":[{"role":"user","content":"a"}]}`, only("/tokenize"), []string{messagesRender}, 0, ErrUnavailable},
		{"responses", prompt.Responses, `{"model":"m","input":"a"}`, both, []string{responsesRender}, 3, nil},
		{"responses of items", prompt.Responses, `{"input":[{"role":"user","content":[{"type":"input_text","text":"a"}]}]}`, both, []string{responsesRender}, 3, nil},
		{"responses without render", prompt.Responses, `{"input":"a"}`, only("/tokenize"), []string{responsesRender}, 0, ErrUnavailable},
		{"render is off", prompt.Responses, `{"input":"a"}`, map[string]string{responsesRender: `403 {"error":{"type":"PermissionDeniedError"}}`}, []string{responsesRender}, 0, ErrUnavailable},
		{"stored response", prompt.Responses, `{"input":"a","previous_response_id":"resp_1"}`, both, nil, 0, ErrUnsupported},
		{"conversation", prompt.Responses, `{"input":"a","conversation":{"id":"c"}}`, both, nil, 0, ErrUnsupported},
		{"prompt template", prompt.Responses, `{"input":"a","prompt":{"id":"p"}}`, both, nil, 0, ErrUnsupported},
		{"no stored response", prompt.Responses, `{"input":"a","previous_response_id":null}`, both, []string{responsesRender}, 3, nil},
		{"embeddings", prompt.Embeddings, `{"input":"a"}`, both, nil, 0, ErrUnsupported},
		{"token ids", prompt.Completions, `{"prompt":[1,2]}`, both, nil, 0, ErrUnsupported},
		{"several prompts", prompt.Completions, `{"prompt":["a","b"]}`, both, nil, 0, ErrUnsupported},
		{"no prompt", prompt.Chat, `{"prompt":"a"}`, both, nil, 0, ErrUnsupported},
		{"not JSON", prompt.Chat, `{"messages":[]`, both, nil, 0, ErrUnsupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, e, upstream := start(t, c.answers)
			got, err := f.Fetch(t.Context(), upstream, c.api, []byte(c.body))
			if err != c.err || (got == nil) != (err != nil) {
				t.Fatalf("%+v, %v; want %v", got, err, c.err)
			}
			if paths := e.set(nil); !slices.Equal(paths, c.paths) {
				t.Errorf("requests went to %q, want %q", paths, c.paths)
			}
			if got != nil && (len(got.IDs) != c.ids || got.FromRender != (c.ids == 3) || got.HasTexts() != (c.ids == 2)) {
				t.Errorf("%+v", got)
			}
		})
	}
}

// A missing endpoint is tried again only after a while, or when it may be another
// engine.
func TestMissingEndpointsAreRemembered(t *testing.T) {
	f, e, upstream := start(t, map[string]string{chatRender: renderOK})
	now := time.Unix(1000, 0)
	f.Now = func() time.Time { return now }
	f.Limits.Upstreams = 2
	fetch := func(want ...string) {
		t.Helper()
		if _, err := f.Fetch(t.Context(), upstream, prompt.Chat, []byte(chatBody)); err != nil {
			t.Fatal(err)
		}
		if got := e.set(nil); !slices.Equal(got, want) {
			t.Errorf("requests went to %q, want %q", got, want)
		}
	}
	fetch("/tokenize", chatRender)
	fetch(chatRender)
	now = now.Add(missingTTL - 1)
	fetch(chatRender)
	now = now.Add(1)
	fetch("/tokenize", chatRender)
	f.Forget(upstream)
	fetch("/tokenize", chatRender)
	for i := range 10 {
		f.markMissing(fmt.Sprint(i), endpointRender)
	}
	if len(f.missing) > 2 {
		t.Errorf("%d upstreams are remembered", len(f.missing))
	}
	e.set(map[string]string{"/tokenize": `404 {"error":{"type":"NotFoundError"}}`, chatRender: renderOK})
	f.Forget(upstream)
	fetch("/tokenize", chatRender)
	fetch("/tokenize", chatRender) // it was the model that was not there
}

// Fetch gives up an answer that does not end in time, or when its context ends.
func TestSlowEngine(t *testing.T) {
	begun := make(chan struct{}, 2)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"tokens":[1,`)
		_ = http.NewResponseController(w).Flush()
		begun <- struct{}{}
		<-r.Context().Done()
	}))
	defer server.Close()
	transport := NewTransport()
	defer transport.CloseIdleConnections()
	f := &Fetcher{Transport: transport, Limits: Limits{Timeout: time.Hour}}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-begun; cancel() }()
	if _, err := f.Fetch(ctx, server.Listener.Addr().String(), prompt.Chat, []byte(chatBody)); err != ErrUnreachable {
		t.Errorf("error %v", err)
	}
	// It may be over before it has come to the engine.
	f.Limits.Timeout = 50 * time.Millisecond
	if _, err := f.Fetch(t.Context(), server.Listener.Addr().String(), prompt.Chat, []byte(chatBody)); err != ErrUnreachable {
		t.Errorf("error %v", err)
	}
}

// Endless answers are cut off at the limit, and no error quotes the engine.
func TestHostileEngine(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"tokens":[1`)
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, strings.Repeat(",1234567", 1000)); err != nil {
				return
			}
		}
	}))
	defer server.Close()
	transport := NewTransport()
	defer transport.CloseIdleConnections()
	f := &Fetcher{Transport: transport, Limits: Limits{Timeout: time.Minute}} // that it is too large is known by its bytes
	if _, err := f.Fetch(t.Context(), server.Listener.Addr().String(), prompt.Chat, []byte(chatBody)); err != ErrTooLarge {
		t.Errorf("error %v", err)
	}
	closed := &Fetcher{Transport: roundTrip(func(*http.Request) (*http.Response, error) { return nil, errors.New("secret") })}
	if _, err := closed.Fetch(t.Context(), "x:1", prompt.Chat, []byte(chatBody)); err != ErrUnreachable {
		t.Errorf("error %v", err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
