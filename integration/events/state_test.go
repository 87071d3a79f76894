// SPDX-License-Identifier: Apache-2.0

package events

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// Blocks that an engine reports as evicted or cleared attract nothing any more.
func TestEventsOfEviction(t *testing.T) {
	engines := harness.StartPublishingEngines(t, 2, enginesim.Config{Speed: 200, CacheBlocks: 600})
	g := harness.StartGateway(t, "caddyfile", harness.PolicySite(engines, harness.EventsOption(engines[0], 1)))
	rnd := rand.New(rand.NewPCG(1, 2))
	for how, lose := range map[string]func(e *enginesim.Engine){
		"evicted": func(e *enginesim.Engine) { // by requests that the gateway does not see
			for range 2 {
				harness.SendDirect(t, e, harness.ChatPath, harness.Chat(harness.Words(rnd, 20000), false))
			}
		},
		"cleared": func(e *enginesim.Engine) { harness.SendDirect(t, e, "/reset_prefix_cache", "") },
	} {
		for range 2 {
			prompt := harness.Chat(harness.Words(rnd, 8000), false)
			g.PredictExactly(t, "a new prompt", prompt, 0)
			var holder *enginesim.Engine
			harness.Await(t, "the gateway knows which engine holds the prompt", func() bool {
				for _, e := range engines {
					if harness.Forecast(t, prompt)[e.Addr()] > 1900 {
						holder = e
					}
				}
				return holder != nil
			})
			lose(holder)
			took := harness.Await(t, "nothing of the prompt is predicted to be cached", func() bool {
				return harness.Forecast(t, prompt)[holder.Addr()] < 100
			})
			t.Logf("%s: forgotten after %v", how, took)
			g.PredictExactly(t, "the prompt that is gone", prompt, 0)
			harness.AwaitQuiet(t, engines)
		}
	}
}

// An engine that was restarted holds nothing. Blocks that it caches from then on are
// known to the token.
func TestEventsOfARestart(t *testing.T) {
	engines := harness.StartPublishingEngines(t, 2, enginesim.Config{Speed: 200})
	g := harness.StartGateway(t, "caddyfile", harness.PolicySite(engines, "metrics off\n"+harness.EventsOption(engines[0], 1)))
	rnd := rand.New(rand.NewPCG(1, 3))
	prompts := make([]string, 2)
	for i := range prompts {
		prompts[i] = harness.Chat(harness.Words(rnd, 8000), false)
		g.PredictExactly(t, "a new prompt", prompts[i], 0)
	}
	harness.AwaitQuiet(t, engines)
	restarts := map[string]func(e *enginesim.Engine) error{
		"restart": (*enginesim.Engine).Restart,
		"crash": func(e *enginesim.Engine) error {
			if err := e.Fault(enginesim.Fault{Kind: enginesim.Crash}); err != nil {
				return err
			}
			harness.Await(t, "the stream is known to be dead", func() bool { return harness.EventsKnown(t, "unknown", e) })
			return e.Heal()
		},
	}
	for how, restart := range restarts {
		for _, e := range engines {
			if err := restart(e); err != nil {
				t.Fatal(err)
			}
		}
		harness.Await(t, how+": no engine is predicted to hold anything", func() bool {
			for _, p := range prompts {
				for _, cached := range harness.Forecast(t, p) {
					if cached > 0 {
						return false
					}
				}
			}
			return harness.EventsKnown(t, "complete", engines...)
		})
		for _, p := range prompts {
			g.PredictExactly(t, how+": the prompt is new", p, 0)
			harness.AwaitQuiet(t, engines)
			g.PredictExactly(t, how+": the prompt again", p, 1900)
		}
	}
}

// vLLM publishes reused blocks as stored again for a request that asks it to. That
// adds no copies, which would outlast the block: it is removed once.
func TestReusedBlocksAreEvictedAtOnce(t *testing.T) {
	engines := harness.StartPublishingEngines(t, 1, enginesim.Config{Speed: 500, CacheBlocks: 400})
	g := harness.StartGateway(t, "caddyfile", harness.PolicySite(engines, "metrics off\n"+harness.EventsOption(engines[0], 1)))
	rnd := rand.New(rand.NewPCG(1, 10))
	prompt := harness.Chat(harness.Words(rnd, 8000), false)
	g.PredictExactly(t, "a new prompt", prompt, 0)
	harness.AwaitQuiet(t, engines)
	g.PredictExactly(t, "the prompt again", prompt, 1900)
	for range 3 {
		harness.SendDirect(t, engines[0], harness.ChatPath, strings.Replace(prompt, "{", `{"vllm_xargs":{"kv_cache_report_mode":"full"},`, 1))
	}
	harness.AwaitQuiet(t, engines)
	g.PredictExactly(t, "the prompt after reports of its reuse", prompt, 1900)
	for range 4 {
		harness.SendDirect(t, engines[0], harness.ChatPath, harness.Chat(harness.Words(rnd, 8000), false))
	}
	harness.AwaitQuiet(t, engines)
	if p := g.PredictExactly(t, "the prompt that was evicted", prompt, 0); p.Reported > 100 {
		t.Errorf("%d tokens of it were still cached: this proves nothing", p.Reported)
	}
	harness.AwaitQuiet(t, engines)
	g.PredictExactly(t, "the prompt that was computed again", prompt, 1900)
}

// When an engine dies, the prompts that were meant for it are known by the tokens of
// the one that answers them.
func TestTokensOfADeadEnginesPrompts(t *testing.T) {
	engines := harness.StartPublishingEngines(t, 2, enginesim.Config{Speed: 200})
	rnd := rand.New(rand.NewPCG(1, 9))
	for _, tokenize := range []string{"after", "inline 2s"} {
		t.Run(tokenize, func(t *testing.T) {
			g := harness.StartGateway(t, "caddyfile", harness.PolicySite(engines, "metrics off\neject off\ntokenize "+tokenize+"\n"+harness.EventsOption(engines[0], 1)))
			first := harness.Words(rnd, 8000)
			g.PredictExactly(t, "a new prompt", harness.Chat(first, false), 0)
			harness.AwaitQuiet(t, engines)
			holder, other := engines[0], engines[1]
			if now := harness.Forecast(t, harness.Chat(first, false)); now[other.Addr()] > now[holder.Addr()] {
				holder, other = other, holder
			}
			if err := holder.Fault(enginesim.Fault{Kind: enginesim.Crash}); err != nil {
				t.Fatal(err)
			}
			longer := harness.Chat(first+harness.Words(rnd, 8000), false)
			g.Predict(t, harness.ChatPath, longer)
			harness.AwaitQuiet(t, []*enginesim.Engine{other})
			g.PredictExactly(t, "the prompt again", longer, 3900)
			if err := holder.Heal(); err != nil {
				t.Fatal(err)
			}
			harness.AwaitQuiet(t, engines)
		})
	}
}

// While an engine's stream is dead the gateway routes by its own history. Once the
// stream is back it routes by the engine's events again.
func TestEventsOfADeadStream(t *testing.T) {
	engines := harness.StartPublishingEngines(t, 2, enginesim.Config{Speed: 200, CacheBlocks: 600})
	port, replay := harness.CommonPort(t, engines), harness.CommonPort(t, engines)
	relays := make(map[*enginesim.Engine][]*relay)
	for _, e := range engines {
		relays[e] = []*relay{startRelay(t, harness.AtPort(e, port), e.EventsAddr(0)), startRelay(t, harness.AtPort(e, replay), e.ReplayAddr(0))}
	}
	g := harness.StartGateway(t, "caddyfile", harness.PolicySite(engines, fmt.Sprintf("events %s%s {\nreplay %s%s\n}", harness.UpstreamHost, port, harness.UpstreamHost, replay)))
	rnd := rand.New(rand.NewPCG(1, 4))
	prompt := harness.Chat(harness.Words(rnd, 8000), false)
	g.PredictExactly(t, "a new prompt", prompt, 0)
	harness.AwaitQuiet(t, engines)
	holder, other := engines[0], engines[1]
	if harness.Forecast(t, prompt)[other.Addr()] > 0 {
		holder, other = other, holder
	}
	for _, r := range relays[holder] {
		r.cut()
	}
	harness.Await(t, "the stream is known to be dead", func() bool {
		return harness.EventsKnown(t, "unknown", holder) && harness.EventsKnown(t, "complete", other)
	})
	for range 2 {
		harness.SendDirect(t, holder, harness.ChatPath, harness.Chat(harness.Words(rnd, 20000), false))
	}
	if cached := harness.Forecast(t, prompt)[holder.Addr()]; cached < 1500 {
		t.Errorf("with a dead stream %d tokens are predicted: own history does not count", cached)
	}
	for _, r := range relays[holder] {
		r.mend(t)
	}
	harness.Await(t, "the stream is back", func() bool { return harness.EventsKnown(t, "complete", holder) })
	if cached := harness.Forecast(t, prompt)[holder.Addr()]; cached != 0 {
		t.Errorf("with the stream back %d tokens are predicted of a prompt that was evicted meanwhile", cached)
	}
	g.PredictExactly(t, "the prompt that is gone", prompt, 0)
	harness.AwaitQuiet(t, engines)
	g.PredictExactly(t, "the prompt again", prompt, 1900)
}
