// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// modelsSite is a site with the least a user writes, and answers that tell the
// upstream.
const modelsSite = `:8080 {
	pii_janitor
	header >X-Upstream {http.reverse_proxy.upstream.hostport}
	reverse_proxy %s {
		lb_policy kv_aware%s
	}
}`

func startModels(t *testing.T, n int, options string) (*harness.Gateway, []*enginesim.Engine) {
	engines := harness.StartEngines(t, n, enginesim.Config{Speed: 50, OutputTokens: 4, Models: []string{"base"}})
	return harness.StartGateway(t, "caddyfile", fmt.Sprintf(modelsSite, harness.Addresses(engines), options)), engines
}

// askFor sends n requests for a model and returns how many failed and which
// engines they reached.
func askFor(t *testing.T, g *harness.Gateway, model string, n int) (failed int, reached map[string]int) {
	t.Helper()
	reached = make(map[string]int)
	for i := range n {
		answer := g.Post(t, harness.ChatPath, harness.Ask(model, fmt.Sprint("question ", i), i%2 == 0, 4))
		if answer.Status != http.StatusOK {
			failed++
		}
		reached[answer.Header.Get("X-Upstream")]++
	}
	return failed, reached
}

// An adapter that one engine gains at run time is served from its first request on:
// an engine's 404 sends the request to the next one, and teaches that the engine
// lacks the model.
func TestAdapterLoadedAtRunTime(t *testing.T) {
	for name, options := range map[string]string{"with lists": "", "without lists": " {\n metrics off\n }"} {
		t.Run(name, func(t *testing.T) {
			g, engines := startModels(t, 3, options) // as many as a request has attempts
			if failed, _ := askFor(t, g, "base", 8); failed > 0 {
				t.Fatalf("%d requests for the base model failed", failed)
			}
			holder := engines[2]
			holder.LoadAdapter("adapter")
			before := requests(engines)
			const n = 40
			failed, reached := askFor(t, g, "adapter", n)
			if failed > 0 || reached[holder.Addr()] != n {
				t.Errorf("%d of %d requests for the adapter failed; reached %v", failed, n, reached)
			}
			if wasted := requests(engines) - before - n; wasted > 2*int64(len(engines)-1) {
				t.Errorf("%d attempts went to engines that lack the adapter", wasted)
			}
			if failed, _ := askFor(t, g, "base", 8); failed > 0 {
				t.Errorf("%d requests for the base model failed after that", failed)
			}
		})
	}
}

func requests(engines []*enginesim.Engine) (n int64) {
	for _, e := range engines {
		n += e.Stats().Requests
	}
	return n
}

// An adapter that moves from one engine to another is found again, and its old
// engine is left alone, as soon as the lists are read anew.
func TestAdapterThatMoves(t *testing.T) {
	g, engines := startModels(t, 2, "")
	for round := range 3 {
		from, to := engines[round%2], engines[(round+1)%2]
		from.UnloadAdapter("adapter")
		to.LoadAdapter("adapter")
		took := harness.Await(t, "the adapter is found at its new engine", func() bool {
			failed, _ := askFor(t, g, "adapter", 2)
			return failed == 0
		})
		if failed, reached := askFor(t, g, "adapter", 6); failed > 0 || reached[to.Addr()] != 6 {
			t.Errorf("round %d: %d requests failed; reached %v", round, failed, reached)
		}
		t.Logf("round %d: known after %v", round, took)
	}
}

// A model that no engine has is answered by an engine, with its own 404, and does
// not take engines away from others.
func TestModelThatNobodyHas(t *testing.T) {
	g, engines := startModels(t, 2, "")
	for i := range 10 {
		answer := g.Post(t, harness.ChatPath, harness.Ask("made up", fmt.Sprint("question ", i), false, 4))
		if answer.Status != http.StatusNotFound || answer.Body == "" {
			t.Fatalf("status %d: %.300s", answer.Status, answer.Body)
		}
	}
	failed, reached := askFor(t, g, "base", 20)
	if failed > 0 || len(reached) != len(engines) {
		t.Errorf("%d requests failed; reached %v", failed, reached)
	}
}
