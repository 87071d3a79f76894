// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// TestAgentSessionsFindTheirCaches sends the turns of coding-agent sessions one
// at a time, in a mixed order. Nothing queues, so the decision depends on the
// prefixes alone, and nearly every prefix that could be cached is.
func TestAgentSessionsFindTheirCaches(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	sessions, _ := harness.AgentSessions(t)
	rate := func(t *testing.T, policy string) float64 {
		engines := harness.StartEngines(t, 4, enginesim.Config{CacheBlocks: 150_000 / 16, MaxModelLen: 120_000, OutputTokens: 4, Speed: 1000})
		g := harness.StartGateway(t, "caddyfile", fmt.Sprintf(":8080 {\n pii_janitor\n reverse_proxy %s {\n lb_policy %s\n }\n}", harness.Addresses(engines), policy))
		rnd, left := rand.New(rand.NewPCG(1, 1)), slices.Clone(sessions)
		for len(left) > 0 {
			i := rnd.IntN(len(left))
			g.Must(t, harness.Chat(left[i][0].Input, false))
			if left[i] = left[i][1:]; len(left[i]) == 0 {
				left = slices.Delete(left, i, i+1)
			}
		}
		return harness.HitRate(engines)
	}
	var ours, theirs float64
	t.Run("kv_aware", func(t *testing.T) { ours = rate(t, "kv_aware") })
	t.Run("round_robin", func(t *testing.T) { theirs = rate(t, "round_robin") })
	t.Logf("hit rate: kv_aware %.1f %%, round_robin %.1f %%", 100*ours, 100*theirs)
	if ours < 0.90 {
		t.Errorf("kv_aware: hit rate %.1f %%, want at least 90 %%", 100*ours)
	}
	if ours <= theirs {
		t.Error("kv_aware does not beat round_robin")
	}
}
