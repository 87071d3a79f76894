// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// start returns a node at a hundred times real speed, closed with the test.
func start(t *testing.T, cfg Config) *Engine {
	t.Helper()
	if cfg.Speed == 0 {
		cfg.Speed = 100
	}
	e, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// post sends a request and returns the answer with its body read.
func post(t *testing.T, e *Engine, path, body string) (*http.Response, string) {
	t.Helper()
	res, err := http.Post(e.URL()+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	all, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(all)
}

// ask posts and decodes a 200.
func ask(t *testing.T, e *Engine, path, body string, v any) {
	t.Helper()
	res, text := post(t, e, path, body)
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("%s: %s %s %s", path, res.Status, res.Header.Get("Content-Type"), text)
	}
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatalf("%s: %v in %s", path, err, text)
	}
}

// do sends a request that must succeed and returns the body.
func do(t *testing.T, r *http.Request) string {
	t.Helper()
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	all, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s %v: %s", res.Status, err, all)
	}
	return string(all)
}

func get(t *testing.T, e *Engine, path string) (int, string) {
	t.Helper()
	res, err := http.Get(e.URL() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	all, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(all)
}

// records splits a stream into its records.
func records(t *testing.T, body string) []string {
	t.Helper()
	if !strings.HasSuffix(body, "\n\n") {
		t.Fatalf("the stream ends in the middle of a record: %q", body)
	}
	return strings.Split(strings.TrimSuffix(body, "\n\n"), "\n\n")
}

// chatBody is a chat request with one user message.
func chatBody(text, more string) string {
	return fmt.Sprintf(`{"model":"m","messages":[{"role":"user","content":%s}]%s}`, encode(nil, text), more)
}

func TestServedTimesAreExact(t *testing.T) {
	e := start(t, Config{PrefillRate: 1000, ChunkTokens: 100, DecodeRate: 100, OutputTokens: 5})
	prompt := strings.Repeat("four", 300)
	var answer openAIAnswer
	for range 2 {
		ask(t, e, "/v1/completions", `{"prompt":"`+prompt+`"}`, &answer)
	}
	served := e.Served()
	if len(served) != 2 {
		t.Fatalf("%d records", len(served))
	}
	cold, warm := served[0], served[1]
	if cold.PromptTokens != 300 || cold.CachedTokens != 0 || cold.TTFT != 300*ms || cold.Total != 340*ms || cold.QueueTime != 0 {
		t.Errorf("cold: %+v", cold)
	}
	// 18 of 18 full blocks are cached.
	if warm.CachedTokens != 288 || warm.TTFT != 12*ms || warm.OutputTokens != 5 || warm.Request != 2 {
		t.Errorf("warm: %+v", warm)
	}
	s := e.Stats()
	if s.PromptTokens != 600 || s.CachedTokens != 288 || s.HitRate() != 0.48 || s.Served != 2 || s.OutputTokens != 10 || s.Requests != 2 {
		t.Errorf("stats: %+v", s)
	}
	e.Reset()
	if s := e.Stats(); s != (Stats{}) {
		t.Errorf("after Reset: %+v", s)
	}
	ask(t, e, "/v1/completions", `{"prompt":"`+prompt+`"}`, &answer)
	if got := e.Served()[0].CachedTokens; got != 0 {
		t.Errorf("after Reset %d tokens are cached", got)
	}
}

// TestRealTimeFollowsSimulatedTime checks that a client measures the scheduler's
// times, divided by Speed.
func TestRealTimeFollowsSimulatedTime(t *testing.T) {
	// 15 s of prefill and a longer answer, at a hundred times the speed.
	e := start(t, Config{PrefillRate: 100, ChunkTokens: 100, DecodeRate: 1, Speed: 100, OutputTokens: 10000})
	begin := time.Now()
	res, err := http.Post(e.URL()+"/v1/chat/completions", "", strings.NewReader(chatBody(strings.Repeat("four", 1500), `,"stream":true`)))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if n := len(e.Served()); n != 0 {
		t.Error("the header waited for the answer")
	}
	if _, err := bufio.NewReader(res.Body).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	first, want := time.Since(begin), 150*ms
	// It is never early. The delay depends on the machine's load, and the
	// benchmark measures it. Without Speed it would be 15 s.
	if first < want || first > want+10*time.Second {
		t.Errorf("first record after %v, want %v", first, want)
	}
}

// TestClientGone checks that a client that leaves frees its slot and its blocks.
func TestClientGone(t *testing.T) {
	e := start(t, Config{MaxBatch: 1, DecodeRate: 1, Speed: 1, OutputTokens: 1000})
	res, err := http.Post(e.URL()+"/v1/chat/completions", "", strings.NewReader(chatBody("hello", `,"stream":true`)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(res.Body).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	// The slot is free when the next request is served.
	var answer openAIAnswer
	ask(t, e, "/v1/chat/completions", chatBody("hello", `,"max_tokens":1`), &answer)
	s := e.Stats()
	if s.Cancelled != 1 || s.Served != 1 || s.Running != 0 || s.KVUsage != 0 {
		t.Errorf("stats: %+v", s)
	}
}

// TestManyStreams runs hundreds of concurrent streams and checks each text.
func TestManyStreams(t *testing.T) {
	e := start(t, Config{Speed: 20, Responder: Echo, MaxBatch: 64})
	var wg sync.WaitGroup
	for i := range 300 {
		wg.Go(func() {
			want := fmt.Sprintf("stream number %d says something of its own", i)
			res, err := http.Post(e.URL()+"/v1/chat/completions", "", strings.NewReader(chatBody(want, `,"stream":true`)))
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			all, err := io.ReadAll(res.Body)
			if err != nil {
				t.Error(err)
			}
			if got := streamText(t, string(all)); got != want {
				t.Errorf("stream %d: %q", i, got)
			}
		})
	}
	wg.Wait()
	if s := e.Stats(); s.Served != 300 || s.Cancelled != 0 || s.Running != 0 {
		t.Errorf("stats: %+v", s)
	}
}

// streamText joins the text of a chat stream.
func streamText(t *testing.T, body string) string {
	t.Helper()
	var text strings.Builder
	for _, record := range records(t, body) {
		if record == "data: [DONE]" {
			continue
		}
		var chunk openAIAnswer
		if err := json.Unmarshal([]byte(strings.TrimPrefix(record, "data: ")), &chunk); err != nil {
			t.Fatalf("%v in %q", err, record)
		}
		for _, c := range chunk.Choices {
			if c.Delta.Content != nil {
				text.WriteString(*c.Delta.Content)
			}
		}
	}
	return text.String()
}

func TestHandlerWithoutListener(t *testing.T) {
	e, err := New(Config{Speed: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if e.Addr() != "" {
		t.Errorf("address %q", e.Addr())
	}
	if e.Fault(Fault{Kind: Refuse}) == nil || e.Heal() != nil {
		t.Error("without a listener, Refuse must fail and Heal must not")
	}
}

func TestCloseEndsWaitingRequests(t *testing.T) {
	e := start(t, Config{PrefillRate: 1, Speed: 1})
	res, err := http.Post(e.URL()+"/v1/chat/completions", "", strings.NewReader(chatBody("hello", `,"stream":true`)))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	e.Close() // the header has arrived, the first token is seconds away
	if _, err := io.ReadAll(res.Body); err == nil {
		t.Error("a stream outlived its engine and ended well")
	}
	if _, err := StartAt(Config{}, "127.0.0.1:not-a-port"); err == nil {
		t.Error("listening on nonsense")
	}
}
