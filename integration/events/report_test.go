// SPDX-License-Identifier: Apache-2.0

package events

import (
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// The metrics and the admin API show the state of each event stream: gaps that
// replay has closed, losses, and streams that ended.
func TestEventsAreVisible(t *testing.T) {
	engines := harness.StartPublishingEngines(t, 2, enginesim.Config{Speed: 200})
	g := harness.StartGateway(t, "caddyfile", harness.PolicySite(engines, harness.EventsOption(engines[0], 1)))
	rnd := rand.New(rand.NewPCG(1, 18))
	send := func(e *enginesim.Engine) {
		harness.SendDirect(t, e, harness.ChatPath, harness.Chat(harness.Words(rnd, 4000), false))
	}
	is := func(name string, e *enginesim.Engine) float64 {
		t.Helper()
		v, ok := harness.UpstreamMetric(t, "caddy_kv_aware_events_"+name, e.Addr())
		if !ok {
			t.Fatalf("there is no metric %s of %s", name, e.Addr())
		}
		return v
	}
	fault := func(f enginesim.Fault) {
		t.Helper()
		if err := engines[0].Fault(f); err != nil {
			t.Fatal(err)
		}
	}
	g.Predict(t, harness.ChatPath, harness.Chat("Hello.", false))
	harness.Await(t, "both histories are known", func() bool { return harness.EventsKnown(t, "complete", engines...) })
	send(engines[0])
	send(engines[1])
	harness.Await(t, "the blocks of both engines are applied", func() bool { return is("blocks_total", engines[0]) >= 60 && is("blocks_total", engines[1]) >= 60 })
	for _, e := range engines {
		r := harness.Publishers(t, e)[0]
		if is("connected", e) != 1 || is("replays_total", e) < 1 || is("unknown_parents_total", e) != 0 {
			t.Errorf("a sound stream: %+v", r)
		}
		if lag := is("lag_seconds", e); lag <= 0 || lag > 30 || r.Lag == nil || r.Blocks != uint64(is("blocks_total", e)) || r.BlockTokens != 16 {
			t.Errorf("a sound stream: lag %v, %+v", lag, r)
		}
	}

	// A batch that a replay brings before the stream counts as a gap too.
	before := is("gaps_total", engines[0])
	fault(enginesim.Fault{Kind: enginesim.DropEvents, Count: 1})
	send(engines[0])
	send(engines[0])
	harness.Await(t, "a gap is counted, and closed", func() bool {
		return is("gaps_total", engines[0]) > before && is("replays_total", engines[0]) >= 2 && harness.EventsKnown(t, "complete", engines[0]) && harness.Publishers(t, engines[0])[0].Losses == 0
	})

	before = is("gaps_total", engines[0])
	fault(enginesim.Fault{Kind: enginesim.ForgetEvents})
	fault(enginesim.Fault{Kind: enginesim.LoseEvents, Count: 1})
	send(engines[0])
	send(engines[0])
	harness.Await(t, "a gap that cannot be closed is counted too", func() bool {
		return is("gaps_total", engines[0]) > before && harness.Publishers(t, engines[0])[0].Losses == 1 && harness.EventsKnown(t, "partial", engines[0])
	})

	harness.Await(t, "a prompt's tokens were fetched", func() bool { return harness.Metric(t, "caddy_kv_aware_tokenized_prompts_total") > 0 })
	fault(enginesim.Fault{Kind: enginesim.Crash})
	harness.Await(t, "the end of the stream is reported", func() bool {
		r := harness.Publishers(t, engines[0])[0]
		return is("connected", engines[0]) == 0 && r.Known == "unknown" && r.Failure != ""
	})
	if is("connected", engines[1]) != 1 || harness.Publishers(t, engines[1])[0].Losses != 0 {
		t.Errorf("the other engine: %+v", harness.Publishers(t, engines[1]))
	}
	if err := engines[0].Heal(); err != nil {
		t.Fatal(err)
	}
	harness.Await(t, "the stream is back", func() bool { return is("connected", engines[0]) == 1 && harness.EventsKnown(t, "complete", engines[0]) })

	g.Reload(t, "caddyfile", harness.PolicySite(engines, ""))
	harness.Await(t, "an engine that is not followed has no metrics", func() bool {
		_, there := harness.UpstreamMetric(t, "caddy_kv_aware_events_connected", engines[0].Addr())
		return !there
	})
}

// However many blocks engines hold, the index stays under memory_limit. Where not
// all blocks of an engine fit, the gateway's own history of it counts too.
func TestEventsUnderTheCeiling(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	const limit, prompts = 1_000_000, 24
	engines := harness.StartPublishingEngines(t, 3, enginesim.Config{Speed: 1000, PrefillRate: 1e6, ChunkTokens: 1 << 16, CacheBlocks: 60000, OutputTokens: 2})
	g := harness.StartGateway(t, "caddyfile", "{\nkv_aware {\nmemory_limit 1MB\n}\n}\n"+harness.PolicySite(engines, harness.EventsOption(engines[0], 1)))
	g.Predict(t, harness.ChatPath, harness.Chat("Hello.", false))
	harness.Await(t, "the histories are known", func() bool { return harness.EventsKnown(t, "complete", engines...) })
	var most float64
	look := func() {
		if now := harness.Metric(t, "caddy_kv_aware_tree_bytes"); now > limit {
			t.Fatalf("%v bytes, %d are allowed", now, limit)
		} else if now > most {
			most = now
		}
	}
	var all sync.WaitGroup
	for i, e := range engines {
		rnd := rand.New(rand.NewPCG(uint64(i), 20))
		all.Go(func() {
			for range prompts {
				resp, err := harness.NewClient(t).Post(e.URL()+harness.ChatPath, "application/json", strings.NewReader(harness.Chat(harness.Words(rnd, 120_000), false)))
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
			}
		})
	}
	done := make(chan struct{})
	go func() {
		all.Wait()
		close(done)
	}()
	harness.Await(t, "all prompts are sent", func() bool {
		look()
		select {
		case <-done:
			return true
		default:
			return false
		}
	})
	harness.Await(t, "the index does not hold all blocks", func() bool { look(); return harness.EventsKnown(t, "partial", engines...) })
	// A prompt that is sent now is found again.
	prompt := harness.Chat(harness.Words(rand.New(rand.NewPCG(1, 21)), 8000), false)
	for range 2 {
		g.Predict(t, harness.ChatPath, prompt)
		harness.AwaitQuiet(t, engines)
	}
	if p := g.Predict(t, harness.ChatPath, prompt); p.Predicted < 1800 || p.Reported < 1900 {
		t.Errorf("at the ceiling: %+v", p)
	}
	look()
	t.Logf("%.0f bytes at most, of %d; %v blocks were reported", most, limit, harness.Metric(t, "caddy_kv_aware_events_blocks_total"))
}
