// SPDX-License-Identifier: Apache-2.0

//go:build real

package real

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/engine/zmtp"
)

// eventsRecording is replayed by internal/kvindex.
const eventsRecording = harness.Root + "/internal/kvindex/testdata/vllm-events.json"

// recordedStep is a request, and what the engine answers and publishes.
type recordedStep struct {
	What    string   `json:"what"`
	Adapter string   `json:"adapter,omitempty"`
	Salt    string   `json:"salt,omitempty"`
	Tokens  []uint32 `json:"tokens"`
	Cached  int      `json:"cached"`
	Batches [][]byte `json:"batches,omitempty"`
}

// record refreshes the recording of an engine's events. The engine is asked directly.
func (s *suite) record(t *testing.T) {
	resetCache(t, s.wide)
	events, err := zmtp.Dial(context.Background(), fmt.Sprint("127.0.0.1:", s.wide.port+eventsOffset), zmtp.SUB, zmtp.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	if err := events.Subscribe(nil); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second) // a subscription takes effect some time later
	text := words(rand.New(rand.NewPCG(16, 16)), 100)
	full := map[string]any{"kv_cache_report_mode": "full"}
	var steps []recordedStep
	step := func(what, model, salt string, more ...any) {
		t.Helper()
		if salt != "" {
			more = append(more, "cache_salt", salt)
		}
		r := recordedStep{What: what, Salt: salt, Tokens: tokensOf(t, s.wide, text)}
		if model == "tiny-lora" {
			r.Adapter = model
		}
		r.Cached = read(t, post(t, s.wide.url(), harness.ChatPath, chat(model, text, more...))).cached
		r.Batches = received(t, events)
		steps = append(steps, r)
	}
	step("a new prompt", "tiny", "")
	step("the same", "tiny", "")
	step("the same, to be reported in full", "tiny", "", "vllm_xargs", full)
	step("the same, to be reported in full again", "tiny", "", "vllm_xargs", full)
	step("under the second name", "tiny-alias", "")
	step("for the adapter", "tiny-lora", "")
	step("for the adapter again", "tiny-lora", "")
	step("with a salt", "tiny", "one")
	step("with the same salt", "tiny", "one")
	step("with another salt", "tiny", "two")
	step("for the adapter, with a salt", "tiny-lora", "one")
	if a := post(t, s.wide.url(), "/reset_prefix_cache", ""); a.Status != http.StatusOK {
		t.Fatal(a.Status)
	}
	read(t, post(t, s.wide.url(), "/v1/completions", object("model", "tiny", "prompt", "x", "max_tokens", 1)))
	steps = append(steps, recordedStep{What: "something short, behind a reset", Batches: received(t, events)})
	step("the prompt after the reset", "tiny", "")
	step("the same after the reset", "tiny", "")
	writeRecording(t, s.versions[0], steps)
	s.seen("events of prompts, names, an adapter, salts, repeated reports and a reset", "recorded for `make test`, which reads them again")
}

// writeRecording writes a line for each step.
func writeRecording(t *testing.T, version string, steps []recordedStep) {
	t.Helper()
	text := fmt.Sprintf("{\"engine\": %q, \"block_tokens\": 32, \"steps\": [", version)
	for i, step := range steps {
		line, err := json.Marshal(step)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			text += ","
		}
		text += "\n" + string(line)
	}
	if err := os.WriteFile(eventsRecording, []byte(text+"\n]}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// received returns the payloads of the batches that come, without their times.
func received(t *testing.T, events *zmtp.Conn) (payloads [][]byte) {
	t.Helper()
	var m zmtp.Message
	for {
		switch err := events.ReceiveUntil(&m, time.Now().Add(500*time.Millisecond)); {
		case err == zmtp.ErrDeadline:
			return payloads
		case err != nil:
			t.Fatal(err)
		}
		payload := append([]byte(nil), m.Parts[len(m.Parts)-1]...)
		clear(payload[2:10]) // an array that begins with a float
		payloads = append(payloads, payload)
	}
}

// tokensOf returns the tokens of a chat's prompt.
func tokensOf(t *testing.T, e *engine, text string) []uint32 {
	t.Helper()
	a := post(t, e.url(), "/tokenize", chat("tiny", text))
	var b struct{ Tokens []uint32 }
	if err := json.Unmarshal([]byte(a.Body), &b); err != nil || len(b.Tokens) == 0 {
		t.Fatalf("status %d, %v: %.300s", a.Status, err, a.Body)
	}
	return b.Tokens
}
