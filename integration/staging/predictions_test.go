// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"fmt"
	"math"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/lmcachesim"
)

// TestPredictionsIncludeLMCache: what engines report as cached includes what LMCache
// has given them. So does the prediction, also of conversations that no GPU holds any
// more, and the engine's own metrics show the same parts. When LMCache has lost
// everything, the prediction follows.
func TestPredictionsIncludeLMCache(t *testing.T) {
	nodes, cachePort := harness.StartNodes(t, 1, harness.QuietNode, lmcachesim.NodeConfig{EngineDriven: true})
	coordinator := startCoordinator(t, nodes)
	for name, option := range map[string]string{
		"node":        harness.LMCacheOption + cachePort,
		"coordinator": "lmcache coordinator " + coordinator.URL(),
	} {
		t.Run(name, func(t *testing.T) {
			g := harness.StartGateway(t, "caddyfile", harness.StagingSite(nodes, option))
			const conversations = 8 // of which the GPU holds four
			for i := range conversations {
				g.Must(t, harness.Ask("sim", harness.Story(fmt.Sprint(name, i)), false, 2))
			}
			harness.AwaitMetricsRead(t, nodes[0].Engine)
			predicted := func() float64 { return harness.Metric(t, "caddy_kv_aware_predicted_external_tokens_total") }
			reported := func() float64 {
				return harness.LabelMetric(t, "caddy_kv_aware_engine_prompt_tokens_total", "source", "external")
			}
			predictedBefore, reportedBefore := predicted(), reported()
			wrong, of := 0, 0 // tokens
			for i := range conversations {
				turn := harness.NextTurn(harness.Story(fmt.Sprint(name, i)))
				cached := harness.Forecast(t, turn)[nodes[0].Engine.Addr()]
				g.Must(t, turn)
				served := nodes[0].Engine.Served()
				last := served[len(served)-1]
				wrong, of = wrong+max(cached-last.CachedTokens, last.CachedTokens-cached), of+last.PromptTokens
			}
			if wrong*20 > of {
				t.Errorf("the predictions are wrong by %d of %d tokens", wrong, of)
			}
			harness.AwaitMetricsRead(t, nodes[0].Engine)
			p, r := predicted()-predictedBefore, reported()-reportedBefore
			if r < 4*4000 || math.Abs(p-r) > 0.1*r {
				t.Errorf("%v tokens were loaded, %v predicted", r, p)
			}
		})
	}
}
