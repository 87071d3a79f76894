// SPDX-License-Identifier: Apache-2.0

package tokenize

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// The tokens are those that the engine counts in its answer to the same request, and
// their texts are the prompt.
func TestSimulator(t *testing.T) {
	e, err := enginesim.Start(enginesim.Config{Speed: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	transport := NewTransport()
	defer transport.CloseIdleConnections()
	f := &Fetcher{Transport: transport}
	const text = "Grüße an alle, \"hello\" 你好 and so on.\n\nThe end."
	quoted, _ := json.Marshal(text)
	for _, c := range []struct {
		api        prompt.API
		path, body string
	}{
		{prompt.Chat, "/v1/chat/completions", `{"model":"sim","max_tokens":1,"messages":[{"role":"system","content":"x"},{"role":"user","content":` + string(quoted) + `}]}`},
		{prompt.Chat, "/v1/chat/completions", `{"model":"sim","max_tokens":1,"tools":[{"type":"function","function":{"name":"f"}}],"messages":[{"role":"user","content":[{"type":"text","text":` + string(quoted) + `}]}]}`},
		{prompt.Completions, "/v1/completions", `{"model":"sim","max_tokens":1,"prompt":` + string(quoted) + `}`},
		{prompt.Completions, "/v1/completions", `{"model":"sim","max_tokens":1,"prompt":[` + string(quoted) + `]}`},
	} {
		got, err := f.Fetch(t.Context(), e.Addr(), c.api, []byte(c.body))
		if err != nil {
			t.Fatalf("%s: %v", c.body, err)
		}
		answer, err := http.Post("http://"+e.Addr()+c.path, "application/json", strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		var counted struct {
			Usage struct {
				PromptTokens int `json:"prompt_tokens"`
			}
		}
		err = json.NewDecoder(answer.Body).Decode(&counted)
		_ = answer.Body.Close()
		if err != nil || counted.Usage.PromptTokens != len(got.IDs) || got.BeforeMedia != len(got.IDs) {
			t.Errorf("%s: %d tokens, %d usable; the engine counts %d, %v", c.body, len(got.IDs), got.BeforeMedia, counted.Usage.PromptTokens, err)
		}
		var all []byte
		for i := range got.IDs {
			all = append(all, got.Text(i)...)
		}
		if !got.HasTexts() || !strings.Contains(string(all), text) {
			t.Errorf("%s: the texts are %q", c.body, all)
		}
	}
}
