// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"testing"

	_ "github.com/bauxite/caddy-kvaware/internal/adapter"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// productYAML returns the product's own YAML, with these endpoints and depth.
func productYAML(t *testing.T, engines []*enginesim.Engine, depth int) string {
	t.Helper()
	raw, err := os.ReadFile(harness.Root + "/caddyfile-examples/bauxite.yaml")
	if err != nil {
		t.Fatal(err)
	}
	endpoints := make([]string, len(engines))
	for i, e := range engines {
		endpoints[i] = fmt.Sprintf("%q", e.URL())
	}
	yaml := replaceOnce(t, string(raw), `["http://node-a:8000", "http://node-b:8000"]`, "["+strings.Join(endpoints, ", ")+"]")
	if depth != 3 {
		yaml = replaceOnce(t, yaml, "radix_depth: 3", fmt.Sprint("radix_depth: ", depth))
	}
	return yaml
}

func replaceOnce(t *testing.T, text, old, new string) string {
	t.Helper()
	if strings.Count(text, old) != 1 {
		t.Fatalf("%q is %d times in the file, want once", old, strings.Count(text, old))
	}
	return strings.Replace(text, old, new, 1)
}

// message is one message of a chat.
type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// ragWorkload returns questions about documents: a system prompt that all share,
// document and question in one message, then a few more turns.
func ragWorkload() (requests [][]message) {
	rnd := rand.New(rand.NewPCG(3, 95))
	words := func(n int) string {
		var b strings.Builder
		for range n {
			fmt.Fprintf(&b, "%x ", rnd.Uint32())
		}
		return b.String()
	}
	system := message{"system", "You answer questions about documents. " + words(60)}
	var documents []string
	for range 12 {
		documents = append(documents, words(1200))
	}
	for range 60 {
		talk := []message{system, {"user", "Document:\n" + documents[rnd.IntN(len(documents))] + "\nQuestion: " + words(12)}}
		for turns := rnd.IntN(4); ; turns-- {
			requests = append(requests, append([]message(nil), talk...))
			if turns <= 0 {
				break
			}
			talk = append(talk, message{"assistant", words(40)}, message{"user", words(15)})
		}
	}
	return requests
}

// TestProductYAML runs the product's own YAML. Its depth of three blocks costs
// hardly any hits: two questions about one document still share the document.
func TestProductYAML(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	rate := func(t *testing.T, depth int) float64 {
		engines := harness.StartEngines(t, 2, enginesim.Config{Speed: 100, OutputTokens: 4, CacheBlocks: 6000})
		g := harness.StartGateway(t, "bauxite", productYAML(t, engines, depth))
		for _, messages := range ragWorkload() {
			body, err := json.Marshal(map[string]any{"model": "sim", "messages": messages})
			if err != nil {
				t.Fatal(err)
			}
			if answer := g.Post(t, "/v1/chat/completions", string(body)); answer.Status != http.StatusOK {
				t.Fatalf("status %d: %.200s", answer.Status, answer.Body)
			}
		}
		return harness.HitRate(engines)
	}
	var limited, unlimited float64
	t.Run("depth 3", func(t *testing.T) { limited = rate(t, 3) })
	t.Run("unlimited", func(t *testing.T) { unlimited = rate(t, 0) })
	t.Logf("hit rate: %.1f %% at radix_depth 3, %.1f %% unlimited", 100*limited, 100*unlimited)
	if unlimited < 0.5 {
		t.Fatalf("a hit rate of %.1f %% says nothing about depth", 100*unlimited)
	}
	if limited < 0.95*unlimited {
		t.Errorf("radix_depth 3 reaches %.1f %% of the hit rate of unlimited depth, want 95 %%", 100*limited/unlimited)
	}
}
