// SPDX-License-Identifier: Apache-2.0

package events

import (
	"math/rand/v2"
	"strconv"
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

// TestEventsWhereNamesDiffer: a name stands for an alias at one engine and for a model
// of its own at another. By their events, each engine has what it was sent under the
// names that stand for the same model there.
func TestEventsWhereNamesDiffer(t *testing.T) {
	config := enginesim.Config{Speed: 200, Models: []string{"tiny"}}
	engines := harness.StartPublishingEngines(t, 1, config)
	port := func(address string) int {
		n, err := strconv.Atoi(harness.PortOf(address))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	config.Events = &enginesim.EventsConfig{Replay: true, Port: port(engines[0].EventsAddr(0)), ReplayPort: port(engines[0].ReplayAddr(0))}
	config.Aliases = []string{"small"}
	engines = append(engines, harness.StartPublishingEngines(t, 1, config)...)
	config.Models, config.Aliases = []string{"small"}, nil
	engines = append(engines, harness.StartPublishingEngines(t, 1, config)...)
	both := engines[1]
	g := harness.StartGateway(t, "caddyfile", harness.PolicySite(engines, harness.EventsOption(engines[0], 1)))
	g.Must(t, request("hello", map[string]any{"model": "tiny"}))
	for _, e := range engines {
		harness.AwaitMetricsRead(t, e)
	}
	rnd := rand.New(rand.NewPCG(5, 14))
	served := make(map[string]int)
	for i := range 24 {
		names := []string{"tiny", "small"}
		if i%2 > 0 {
			names = []string{"small", "tiny"}
		}
		text, before := harness.Words(rnd, 3000), both.Stats().Requests
		as := func(name string) string { return request(text, map[string]any{"model": name}) }
		g.Must(t, as(names[0]))
		harness.AwaitQuiet(t, engines)
		atBoth := both.Stats().Requests > before
		for _, name := range names {
			held := 0
			for address, cached := range harness.Forecast(t, as(name)) {
				held += cached
				if has := address == both.Addr() && atBoth; has != (cached > 700) && (has || name != names[0]) {
					t.Errorf("sent as %s, to the engine with both names: %v; as %s %d tokens are predicted at %s", names[0], atBoth, name, cached, address)
				}
			}
			if name == names[0] && held < 700 {
				t.Errorf("%d tokens are predicted where the prompt was sent", held)
			}
		}
		if atBoth {
			g.PredictExactly(t, "as "+names[1], as(names[1]), 700)
			served[names[0]]++
		}
		harness.AwaitQuiet(t, engines)
	}
	if served["tiny"] == 0 || served["small"] == 0 {
		t.Fatal("the engine with both names was sent nothing: this proves nothing")
	}
}
