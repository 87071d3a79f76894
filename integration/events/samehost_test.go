// SPDX-License-Identifier: Apache-2.0

package events

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// eventsOffset and replayOffset are the distances from an engine's port to those of its events and its
// replay, for engines on one host.
const eventsOffset, replayOffset = 1000, 2000

// startOnOneHost starts engines at consecutive ports of one host.
func startOnOneHost(t *testing.T, n int) []*enginesim.Engine {
	t.Helper()
	for range 20 {
		port := 10_000 + rand.IntN(20_000)
		var engines []*enginesim.Engine
		for i := range n {
			e, err := enginesim.StartAt(enginesim.Config{Speed: 200, Events: &enginesim.EventsConfig{
				Replay: true, Port: port + i + eventsOffset, ReplayPort: port + i + replayOffset,
			}}, net.JoinHostPort("127.0.0.1", fmt.Sprint(port+i)))
			if err != nil {
				break
			}
			engines = append(engines, e)
		}
		if len(engines) == n {
			for _, e := range engines {
				t.Cleanup(e.Close)
			}
			return engines
		}
		for _, e := range engines {
			e.Close()
		}
	}
	t.Fatal("there are no free ports")
	return nil
}

// Several engines on one host are followed at ports relative to their own.
func TestEventsOfEnginesOnOneHost(t *testing.T) {
	engines := startOnOneHost(t, 3)
	g := harness.StartGateway(t, "caddyfile", harness.PolicySite(engines, fmt.Sprintf("events %s+%d {\nreplay %[1]s+%[3]d\n}", harness.UpstreamHost, eventsOffset, replayOffset)))
	rnd := rand.New(rand.NewPCG(1, 31))
	g.Predict(t, harness.ChatPath, harness.Chat("Hello.", false))
	harness.Await(t, "all histories are known", func() bool { return harness.EventsKnown(t, "complete", engines...) })
	for i, e := range engines {
		prompt := harness.Chat(harness.Words(rnd, 8000), false)
		harness.SendDirect(t, e, harness.ChatPath, prompt)
		harness.AwaitQuiet(t, engines)
		g.Predict(t, harness.ChatPath, prompt) // links its text
		harness.AwaitQuiet(t, engines)
		if held := harness.Forecast(t, prompt); held[e.Addr()] < 1900 {
			t.Errorf("engine %d at %s holds what another client has sent it, and is predicted not to: %v", i, e.Addr(), held)
		}
		g.PredictExactly(t, fmt.Sprintf("the prompt of engine %d again", i), prompt, 1900)
	}
}
