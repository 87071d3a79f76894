// SPDX-License-Identifier: Apache-2.0

//go:build real

package real

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// sdks asks the questions of clients.py, and returns the answers by name.
func sdks(t *testing.T, url, kind string) (answers map[string]any) {
	t.Helper()
	client := exec.Command(filepath.Join(installed, "venv/bin/python"), "clients.py", url, kind)
	var failure strings.Builder
	client.Stderr = &failure
	out, err := client.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, failure.String())
	}
	if err := json.Unmarshal(out, &answers); err != nil {
		t.Fatal(err)
	}
	return answers
}

// answers compares what the SDKs get from an engine with what they get through a
// gateway in front of it.
func (s *suite) answers(t *testing.T) {
	direct := sdks(t, s.wide.url(), "generate")
	through := sdks(t, gateway(t, []*engine{s.wide}, followEvents()).URL, "generate")
	equal := 0
	for name, want := range direct {
		if m, _ := want.(map[string]any); m["failed"] != nil {
			t.Errorf("%s: the engine itself fails: %v", name, want)
		}
		if got := through[name]; !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n     direct %.600v\n    through %.600v", name, want, got)
		} else {
			equal++
		}
	}
	s.seen("chat, completions, responses, messages: whole, streamed, tools, JSON schemas, errors; SDKs of OpenAI and Anthropic for Python, at temperature 0",
		"%d of %d answers through the gateway equal the direct ones", equal, len(direct))
}

// embeddings needs an engine of its own, which takes the place of the one with
// LMCache.
func (s *suite) embeddings(t *testing.T) {
	if s.embedding == nil {
		t.Fatal("its engine was not started")
	}
	s.embedding.awaitUp(t)
	direct := sdks(t, s.embedding.url(), "embed")
	g := gateway(t, []*engine{s.embedding})
	through := sdks(t, g.URL, "embed")
	if m, failed := direct["OpenAI embeddings"].(map[string]any); failed || !reflect.DeepEqual(direct, through) {
		t.Errorf("direct %v %v, through the gateway %v", m, direct, through)
	}
	s.seen("embeddings", "as direct")
}
