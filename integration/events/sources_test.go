// SPDX-License-Identifier: Apache-2.0

package events

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// Engines encode their events in different ways. A conversation is predicted to the
// token with all of them.
func TestEventsOfAllEncodings(t *testing.T) {
	for name, events := range map[string]enginesim.EventsConfig{
		"map":         {Encoding: enginesim.EventMap},
		"array":       {Encoding: enginesim.EventArray},
		"SGLang":      {Encoding: enginesim.EventSGLang},
		"wide hashes": {Encoding: enginesim.EventMap, WideHashes: true},
		"from one on": {Encoding: enginesim.EventMap, FirstSequence: 1},
	} {
		t.Run(name, func(t *testing.T) {
			events.Replay = true
			engines := harness.StartPublishingEngines(t, 2, enginesim.Config{Speed: 200, Events: &events})
			g := harness.StartGateway(t, "caddyfile", harness.PolicySite(engines, harness.EventsOption(engines[0], 1)))
			threeTurns(t, g, engines)
		})
	}
}

// threeTurns holds a conversation of three turns and expects exact predictions.
func threeTurns(t *testing.T, g *harness.Gateway, engines []*enginesim.Engine) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, 8))
	var c harness.Conversation
	for turn := range 3 {
		p := g.PredictExactly(t, fmt.Sprint("turn ", turn), c.Say(harness.Words(rnd, 3000)), turn*700)
		c.Answered(p.Answer)
		harness.AwaitQuiet(t, engines)
	}
}

// The tokens that the chat template adds after the last message count too, wherever
// the last block ends.
func TestEventsOfPromptsSentAgain(t *testing.T) {
	engines := harness.StartPublishingEngines(t, 1, enginesim.Config{Speed: 200})
	g := harness.StartGateway(t, "caddyfile", harness.PolicySite(engines, harness.EventsOption(engines[0], 1)))
	rnd := rand.New(rand.NewPCG(1, 19))
	for bytes := 3995; bytes < 4060; bytes += 7 { // 16 tokens are 64 bytes
		prompt := harness.Chat(harness.Words(rnd, bytes), false)
		g.Predict(t, harness.ChatPath, prompt)
		harness.AwaitQuiet(t, engines)
		g.PredictExactly(t, fmt.Sprint(bytes, " bytes"), prompt, 950)
	}
}

// Publishers that dial out are accepted, told apart by their topics, and recognized
// after a restart.
func TestEventsThatDialOut(t *testing.T) {
	at := harness.FreeAddress(t)
	engines := harness.StartEngines(t, 2, enginesim.Config{Speed: 200, Events: &enginesim.EventsConfig{Connect: at}})
	g := harness.StartGateway(t, "caddyfile", harness.PolicySite(engines, "metrics off\nevents listen tcp://"+at))
	harness.Await(t, "the engines have connected", func() bool { return engines[0].Subscribers(0) == 1 && engines[1].Subscribers(0) == 1 })
	threeTurns(t, g, engines)
	// The first event of a connection tells which engine it belongs to.
	rnd := rand.New(rand.NewPCG(1, 9))
	for _, e := range engines {
		harness.SendDirect(t, e, harness.ChatPath, harness.Chat(harness.Words(rnd, 1000), false))
	}
	harness.Await(t, "both engines' events are known from their first on", func() bool { return harness.EventsKnown(t, "complete", engines...) })

	g.Reload(t, "caddyfile", harness.PolicySite(engines, "radix_depth 100\nmetrics off\nevents listen tcp://"+at))
	for _, e := range engines {
		if n := e.Subscribers(0); n != 1 {
			t.Errorf("%d connections after a reload", n)
		}
	}
	prompt := harness.Chat(harness.Words(rnd, 4000), false)
	for _, e := range engines {
		if err := e.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	harness.Await(t, "the engines have connected again", func() bool { return engines[0].Subscribers(0) == 1 && engines[1].Subscribers(0) == 1 })
	for _, e := range engines {
		harness.SendDirect(t, e, harness.ChatPath, harness.Chat(harness.Words(rnd, 1000), false))
	}
	harness.Await(t, "both engines' new events are known", func() bool { return harness.EventsKnown(t, "complete", engines...) })
	g.PredictExactly(t, "a new prompt", prompt, 0)
	harness.AwaitQuiet(t, engines)
	g.PredictExactly(t, "the prompt again", prompt, 900)

	g.Reload(t, "caddyfile", harness.PolicySite(engines, ""))
	again, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatalf("after a reload without events the port is still ours: %v", err)
	}
	again.Close()
}

// An engine of two ranks has two caches. The engine chooses the rank of a request,
// so the prediction is the mean of both.
func TestEventsOfRanks(t *testing.T) {
	events := enginesim.EventsConfig{Replay: true}
	engines := harness.StartPublishingEngines(t, 1, enginesim.Config{Speed: 200, Ranks: 2, Events: &events})
	g := harness.StartGateway(t, "caddyfile", strings.Replace(harness.PolicySite(engines, harness.EventsOption(engines[0], 2)),
		"pii_janitor\n", "pii_janitor {\nengine_members pass x-data-parallel-rank\n}\n", 1))
	rnd := rand.New(rand.NewPCG(1, 10))
	prompt := harness.Chat(harness.Words(rnd, 8000), false)
	rank := func(n string) {
		t.Helper()
		answer := g.Post(t, harness.ChatPath, prompt, "X-data-parallel-rank", n)
		if answer.Status != http.StatusOK {
			t.Fatalf("status %d", answer.Status)
		}
		harness.AwaitQuiet(t, engines)
	}
	rank("0")
	harness.Await(t, "half of the prompt is predicted to be cached", func() bool {
		cached := harness.Forecast(t, prompt)[engines[0].Addr()]
		return cached > 900 && cached < 1100
	})
	rank("1")
	g.PredictExactly(t, "a prompt that both ranks hold", prompt, 1900)
	ranks := harness.Publishers(t, engines[0])
	if len(ranks) != 2 || ranks[0].Rank != 0 || ranks[1].Rank != 1 || ranks[0].Known != "complete" || ranks[1].Known != "complete" {
		t.Errorf("the ranks: %+v", ranks)
	}
	if err := engines[0].Restart(); err != nil {
		t.Fatal(err)
	}
	harness.Await(t, "both ranks are empty", func() bool {
		return harness.Forecast(t, prompt)[engines[0].Addr()] == 0 && harness.EventsKnown(t, "complete", engines...)
	})
}

// With inline tokenization a request finds its prefix on an engine that got it
// before the gateway started, from another client.
func TestTokenizeInline(t *testing.T) {
	engines := harness.StartPublishingEngines(t, 3, enginesim.Config{Speed: 200, Record: 100})
	rnd := rand.New(rand.NewPCG(1, 11))
	prompt := harness.Chat(harness.Words(rnd, 8000), false)
	harness.SendDirect(t, engines[1], harness.ChatPath, prompt)
	g := harness.StartGateway(t, "caddyfile", harness.PolicySite(engines, "tokenize inline 10s\n"+harness.EventsOption(engines[0], 1)))
	harness.Await(t, "the histories are known", func() bool { return harness.EventsKnown(t, "complete", engines...) })
	g.PredictExactly(t, "the first request of a prompt that an engine holds", prompt, 1900)
	if n := engines[1].Received(); len(n) == 0 || !strings.HasSuffix(n[len(n)-1].Path, harness.ChatPath) {
		t.Error("the request went to another engine")
	}
	g.PredictExactly(t, "a prompt that no engine holds", harness.Chat(harness.Words(rnd, 8000), false), 0)
}

// With tokenize off the gateway asks no engine for tokens. It routes by its own
// history.
func TestTokenizeOff(t *testing.T) {
	engines := harness.StartPublishingEngines(t, 2, enginesim.Config{Speed: 200, Record: 100})
	g := harness.StartGateway(t, "caddyfile", harness.PolicySite(engines, "tokenize off\n"+harness.EventsOption(engines[0], 1)))
	prompt := harness.Chat(harness.Words(rand.New(rand.NewPCG(1, 12)), 8000), false)
	g.Predict(t, harness.ChatPath, prompt)
	harness.AwaitQuiet(t, engines)
	if p := g.Predict(t, harness.ChatPath, prompt); p.Predicted < 1800 || p.Reported < 1900 {
		t.Errorf("the prompt again: %+v", p)
	}
	for _, e := range engines {
		for _, r := range e.Received() {
			if strings.HasSuffix(r.Path, "tokenize") || strings.HasSuffix(r.Path, "render") {
				t.Errorf("an engine was asked for tokens at %s", r.Path)
			}
		}
		harness.SendDirect(t, e, "/reset_prefix_cache", "") // its events still count
	}
	harness.Await(t, "the engines are known to be empty", func() bool {
		for _, cached := range harness.Forecast(t, prompt) {
			if cached > 0 {
				return false
			}
		}
		return true
	})
}

// Engines whose tokens come in another way, badly, or not at all: serving goes
// on as if nothing had been asked. An engine that never answers when it is asked
// for tokens does not keep a request, even with tokenize inline.
func TestTokenizeThatFails(t *testing.T) {
	for name, c := range map[string]struct {
		scaleOut bool
		faults   []enginesim.Fault
		precise  bool
	}{
		"no /tokenize, but render": {scaleOut: true, precise: true, faults: []enginesim.Fault{{Kind: enginesim.Status, Status: 404, Path: "/tokenize"}}},
		"neither":                  {faults: []enginesim.Fault{{Kind: enginesim.Status, Status: 404, Path: "/tokenize"}}},
		"errors":                   {faults: []enginesim.Fault{{Kind: enginesim.Status, Status: 500, Path: "/tokenize"}}},
		"garbage":                  {faults: []enginesim.Fault{{Kind: enginesim.Gzip, Path: "/tokenize"}}},
		"cut off":                  {faults: []enginesim.Fault{{Kind: enginesim.Cut, Path: "/tokenize"}}},
		"hangs":                    {faults: []enginesim.Fault{{Kind: enginesim.Hang, Path: "/tokenize"}}},
	} {
		t.Run(name, func(t *testing.T) {
			engines := harness.StartPublishingEngines(t, 2, enginesim.Config{Speed: 200, ScaleOut: c.scaleOut})
			for _, e := range engines {
				if err := e.Fault(c.faults...); err != nil {
					t.Fatal(err)
				}
			}
			g := harness.StartGateway(t, "caddyfile", harness.PolicySite(engines, "tokenize inline 150ms\n"+harness.EventsOption(engines[0], 1)))
			harness.Await(t, "the histories are known", func() bool { return harness.EventsKnown(t, "complete", engines...) })
			rnd := rand.New(rand.NewPCG(1, 13))
			for range 2 {
				prompt := harness.Chat(harness.Words(rnd, 8000), false)
				g.Predict(t, harness.ChatPath, prompt) // while /tokenize hangs, if it does
				harness.AwaitQuiet(t, engines)
				p := g.Predict(t, harness.ChatPath, prompt)
				if p.Reported < 1900 {
					t.Errorf("the prompt again did not go to the engine that holds it: %+v", p)
				}
				if c.precise && p.Predicted != p.Reported || p.Predicted < 1800 {
					t.Errorf("the prompt again: %+v", p)
				}
			}
			harness.Await(t, "the admin API reports how asking went", func() bool {
				var fetched, failed uint64
				texts := ""
				for _, r := range harness.Upstreams(t) {
					fetched, failed, texts = fetched+r.Tokens.Fetched, failed+r.Tokens.Failed, texts+r.Tokens.Failure
				}
				if c.precise {
					return fetched > 0 && failed == 0 && texts == ""
				}
				return fetched == 0 && failed > 0 && strings.Contains(texts, "tokens: ")
			})
		})
	}
}
