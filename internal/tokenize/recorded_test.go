// SPDX-License-Identifier: Apache-2.0

package tokenize

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
)

// Requests and answers of vLLM's render endpoints, recorded with the prompts of
// integration/real.
func TestRecordedRenditions(t *testing.T) {
	for _, c := range []struct {
		api  prompt.API
		name string
	}{
		{prompt.Messages, "messages.tool_results"},
		{prompt.Responses, "responses.tool_results"},
	} {
		read := func(kind string) []byte {
			raw, err := os.ReadFile("testdata/vllm-0.32.render." + c.name + "." + kind + ".json")
			if err != nil {
				t.Fatal(err)
			}
			return raw
		}
		tr, err := parseRequest(c.api, read("request"))
		if err != nil || tr.exact || tr.media || tr.path(endpointRender) != c.api.Dialect().RenderPath {
			t.Errorf("%s: %+v, %v", c.name, tr, err)
		}
		answer := read("answer")
		var want struct {
			IDs []uint32 `json:"token_ids"`
		}
		if err := json.Unmarshal(answer, &want); err != nil || len(want.IDs) < 50 {
			t.Fatalf("%s: %d tokens, %v", c.name, len(want.IDs), err)
		}
		got, err := readAnswer(bytes.NewReader(answer), endpointRender, false, testLimits)
		if err != nil || !slices.Equal(got.IDs, want.IDs) || got.BeforeMedia != len(want.IDs) || !got.FromRender || got.HasTexts() {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
}

// Only parts that hold media, or that are not known, count as media.
func TestMediaInParts(t *testing.T) {
	for part, media := range map[string]bool{
		`{"type":"text","text":"a"}`:                                      false,
		`{"type":"tool_use","id":"t","name":"n","input":{"a":[1]}}`:       false,
		`{"type":"tool_result","tool_use_id":"t","content":"a"}`:          false,
		`{"type":"tool_result","content":[{"type":"image","source":{}}]}`: true,
		`{"type":"thinking","thinking":"a","signature":"s"}`:              false,
		`{"type":"image","source":{"type":"base64","data":"x"}}`:          true,
		`{"type":"document","source":{}}`:                                 true,
		`{"type":"input_image","image_url":"x"}`:                          true,
		`{"type":"a type that is longer than any","text":"a"}`:            true,
	} {
		tr, err := parseRequest(prompt.Messages, []byte(`{"messages":[{"role":"user","content":[`+part+`]}]}`))
		if err != nil || tr.media != media || tr.exact {
			t.Errorf("%s: %+v, %v", part, tr, err)
		}
	}
}
