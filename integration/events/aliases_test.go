// SPDX-License-Identifier: Apache-2.0

package events

import (
	"math/rand/v2"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// TestEventsOfAnAlias: a prompt is predicted to the token under another name of the
// model, though its tokens were fetched under the first.
func TestEventsOfAnAlias(t *testing.T) {
	engines := harness.StartPublishingEngines(t, 2, enginesim.Config{Speed: 200, Models: []string{"base", "adapter"}, Aliases: []string{"alias"}})
	g := harness.StartGateway(t, "caddyfile", harness.PolicySite(engines, harness.EventsOption(engines[0], 1)))
	g.Must(t, request("hello", nil))
	for _, e := range engines {
		harness.AwaitMetricsRead(t, e)
	}
	rnd := rand.New(rand.NewPCG(4, 14))
	for _, names := range [][2]string{{"base", "alias"}, {"alias", "base"}, {"base", "alias"}} {
		text := harness.Words(rnd, 6000)
		g.PredictExactly(t, "new, as "+names[0], request(text, map[string]any{"model": names[0]}), 0)
		harness.AwaitQuiet(t, engines)
		fetched := fetchedTokens(t)
		g.PredictExactly(t, "again, as "+names[1], request(text, map[string]any{"model": names[1]}), 1400)
		harness.AwaitQuiet(t, engines)
		if now := fetchedTokens(t); now != fetched {
			t.Errorf("the tokens of a known prompt were fetched %d times for another name", now-fetched)
		}
		// An adapter has KV blocks of its own, known to be its from the start.
		if p := g.PredictExactly(t, "as the adapter", request(text, map[string]any{"model": "adapter"}), 0); p.Reported > 0 {
			t.Fatalf("the adapter had %d tokens of the base model cached: this proves nothing", p.Reported)
		}
		harness.AwaitQuiet(t, engines)
		g.PredictExactly(t, "again, as the adapter", request(text, map[string]any{"model": "adapter"}), 1400)
	}
}

// fetchedTokens counts the prompts whose tokens were fetched from any engine.
func fetchedTokens(t *testing.T) (n uint64) {
	t.Helper()
	for _, u := range harness.Upstreams(t) {
		n += u.Tokens.Fetched
	}
	return n
}
