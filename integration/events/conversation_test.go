// SPDX-License-Identifier: Apache-2.0

package events

import (
	"math/rand/v2"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// The next turns of a conversation are predicted to the token, including the
// answers: the engine caches prompt and answer, and reports both.
func TestEventsFollowAConversation(t *testing.T) {
	engines := harness.StartPublishingEngines(t, 2, enginesim.Config{Speed: 100, CacheBlocks: 4000})
	g := harness.StartGateway(t, "caddyfile", harness.PolicySite(engines, harness.EventsOption(engines[0], 1)))
	rnd := rand.New(rand.NewPCG(1, 1))
	var c harness.Conversation
	for turn := range 5 {
		p := g.Predict(t, "/v1/chat/completions", c.Say(harness.Words(rnd, 3000)))
		if p.Predicted != p.Reported || turn > 0 && p.Reported < p.Tokens/2 {
			t.Errorf("turn %d: of %d tokens %d were predicted to be cached, %d were", turn, p.Tokens, p.Predicted, p.Reported)
		}
		c.Answered(p.Answer)
		harness.AwaitQuiet(t, engines)
	}
}
