// SPDX-License-Identifier: Apache-2.0

package events

import (
	"math/rand/v2"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// TestEventsUnderForeignTraffic: with caches that are far too small, and another
// gateway's conversations on the same engines, the gateway predicts to the token
// once it has caught up. Without events it cannot.
func TestEventsUnderForeignTraffic(t *testing.T) {
	rounds := 40
	if testing.Short() {
		rounds = 8
	}
	events := func(engines []*enginesim.Engine) string { return harness.EventsOption(engines[0], 1) }
	history := func([]*enginesim.Engine) string { return "" }
	wrong, cached := foreignTraffic(t, rounds, events)
	if wrong > 0 || cached == 0 {
		t.Errorf("with events %d of %d predictions were wrong, %d tokens were cached", wrong, rounds, cached)
	}
	if wrong, _ := foreignTraffic(t, rounds, history); wrong == 0 && !testing.Short() {
		t.Error("without events no prediction was wrong: this proves nothing")
	}
}

// foreignTraffic sends turns of conversations one at a time, about half of them
// through the gateway, and returns how many predictions were wrong and how many
// tokens were cached.
func foreignTraffic(t *testing.T, rounds int, options func([]*enginesim.Engine) string) (wrong, cached int) {
	t.Helper()
	engines := harness.StartPublishingEngines(t, 2, enginesim.Config{Speed: 500, CacheBlocks: 1400, OutputTokens: 60, MaxModelLen: 20000})
	g := harness.StartGateway(t, "caddyfile", harness.PolicySite(engines, options(engines)))
	rnd := rand.New(rand.NewPCG(1, 23))
	system := harness.Words(rnd, 6000)
	talks := make([]harness.Conversation, 8)
	for i := range talks {
		talks[i].Begin(system)
	}
	turns := make([]int, len(talks))
	for range rounds {
		i := rnd.IntN(len(talks))
		if turns[i]++; turns[i] > 5 {
			turns[i], talks[i] = 1, harness.Conversation{}
			talks[i].Begin(system)
		}
		body := talks[i].Say(harness.Words(rnd, 2000+rnd.IntN(6000)))
		if i%2 == 0 { // through the other gateway, which keeps a conversation where it is
			answer := harness.SendDirect(t, engines[i/2%len(engines)], harness.ChatPath, body)
			talks[i].Answered(answer.Choices[0].Message.Content)
		} else {
			p := g.Predict(t, harness.ChatPath, body)
			if p.Predicted != p.Reported {
				wrong++
			}
			cached += p.Reported
			talks[i].Answered(p.Answer)
		}
		harness.AwaitQuiet(t, engines)
	}
	return wrong, cached
}
