// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
	"github.com/bauxite/caddy-kvaware/internal/sim/lmcachesim"
)

// The engines of a load: they compute 8,000 tokens a second and load 10,000 from
// disk and 400,000 from CPU memory. The GPU holds four prompts.
var (
	slowDisk     = lmcachesim.NodeConfig{Sizes: lmcachesim.Sizes{DiskRate: 10000, GPURate: 400000, MemoryChunks: 2048}}
	queueingNode = enginesim.Config{
		Models: []string{"sim"}, CacheBlocks: 1200, MaxBatch: 2, OutputTokens: 4, DecodeRate: 200, Speed: 4,
	}
)

func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[int(q*float64(len(sorted)-1)+0.5)]
}

// stagingLoad holds the results of a load, of the prompts that came back.
type stagingLoad struct {
	ttft     []time.Duration // in simulated time, sorted
	cached   int             // prompt tokens
	fromDisk int             // chunks that engines waited for
	staged   float64         // tokens
}

// driveStaging begins conversations, lets the engine's blocks of them go to
// disk, and then continues each among as many new prompts, at a pace that keeps
// a queue in front of the engine. The name makes the prompts different from
// those of other loads.
func driveStaging(b *testing.B, name string, options func(cachePort string) string) (l stagingLoad) {
	b.Helper()
	const conversations, between = 24, 75 * time.Millisecond
	old := func(i int) string { return harness.Story(fmt.Sprint(name, "old", i)) }
	nodes, cachePort := harness.StartNodes(b, 1, queueingNode, slowDisk)
	engine, cache := nodes[0].Engine, nodes[0].Cache
	g := harness.StartGateway(b, "caddyfile", harness.StagingSite(nodes, "capacity 16000\n"+options(cachePort)))
	for i := range conversations {
		g.Must(b, harness.Ask("sim", old(i), false, 2))
	}
	cache.EvictMemory()
	engine.Reset()
	served, fromDisk := len(engine.Served()), cache.Stats().FromDisk
	staged := harness.Metric(b, "caddy_kv_aware_staged_tokens_total")
	var group sync.WaitGroup
	tick := time.NewTicker(between)
	defer tick.Stop()
	send := func(body string) {
		<-tick.C
		group.Go(func() { harness.Answered(b, g.Client, g.URL, body) })
	}
	for i := range conversations {
		send(harness.Ask("sim", harness.Story(fmt.Sprint(name, "new", i)), false, 2))
		send(harness.Ask("sim", old(i)+" And then?", false, 2))
	}
	group.Wait()
	for _, s := range engine.Served()[served:] {
		if s.CachedTokens > 0 {
			l.ttft = append(l.ttft, s.TTFT)
		}
		l.cached += s.CachedTokens
	}
	l.fromDisk = cache.Stats().FromDisk - fromDisk
	l.staged = harness.Metric(b, "caddy_kv_aware_staged_tokens_total") - staged
	if len(l.ttft) != conversations {
		b.Errorf("%d prompts found something cached, want %d", len(l.ttft), conversations)
	}
	slices.Sort(l.ttft)
	return l
}

// BenchmarkStaging runs the same load with and without staging, on an engine
// with a queue in front of it. Half of the prompts come back, and their blocks
// are on disk; the other half is new.
func BenchmarkStaging(b *testing.B) {
	for round := 0; b.Loop(); round++ {
		without := driveStaging(b, fmt.Sprint("a", round), func(string) string { return "" })
		with := driveStaging(b, fmt.Sprint("b", round), func(port string) string { return harness.LMCacheOption + port })
		for name, l := range map[string]stagingLoad{"without staging": without, "with staging": with} {
			b.Logf("%-15s TTFT p50 %v, p95 %v; engines waited for %d chunks from disk; %d tokens cached, %.0f staged", name,
				quantile(l.ttft, 0.5).Round(time.Millisecond), quantile(l.ttft, 0.95).Round(time.Millisecond), l.fromDisk, l.cached, l.staged)
		}
		b.ReportMetric(float64(quantile(with.ttft, 0.5).Milliseconds()), "ttft-p50-ms")
		b.ReportMetric(float64(quantile(without.ttft, 0.5).Milliseconds()), "unstaged-ttft-p50-ms")
		b.ReportMetric(float64(quantile(with.ttft, 0.95).Milliseconds()), "ttft-p95-ms")
		b.ReportMetric(float64(quantile(without.ttft, 0.95).Milliseconds()), "unstaged-ttft-p95-ms")
	}
}

// BenchmarkWarming measures the next turn of conversations whose blocks the GPU
// has lost to other prompts, with and without warm_gpu.
func BenchmarkWarming(b *testing.B) {
	for round := 0; b.Loop(); round++ {
		off := driveWarming(b, fmt.Sprint("cold", round), func(string) string { return "" })
		on := driveWarming(b, fmt.Sprint("warm", round), func(port string) string { return harness.LMCacheOption + port + " {\n warm_gpu on\n }" })
		b.ReportMetric(float64(on.Milliseconds()), "ttft-p50-ms")
		b.ReportMetric(float64(off.Milliseconds()), "unwarmed-ttft-p50-ms")
	}
}

// driveWarming returns the median time to first token of next turns.
func driveWarming(b *testing.B, name string, options func(cachePort string) string) time.Duration {
	b.Helper()
	const conversations, gap = 6, 900 * time.Millisecond
	config := harness.QuietNode
	config.Responder, config.OutputTokens = harness.CallTool, 16
	nodes, cachePort := harness.StartNodes(b, 1, config, slowDisk)
	g := harness.StartGateway(b, "caddyfile", harness.StagingSite(nodes, "capacity 16000\n"+options(cachePort)))
	engine, cache := nodes[0].Engine, nodes[0].Cache
	var ttft []time.Duration
	for i := range conversations {
		agent := fmt.Sprint(name, " agent", i)
		g.Must(b, harness.AgentTurn(agent, 0))
		next := time.After(gap)
		for j := range 5 { // of 4,000 tokens each, on a GPU that holds 19,200
			g.Must(b, harness.Ask("sim", harness.Story(fmt.Sprint(agent, "'s neighbor ", j)), false, 2))
		}
		cache.EvictMemory() // there, too, others came
		<-next
		g.Must(b, harness.AgentTurn(agent, 1))
		if served := engine.Served(); i > 0 { // the first gap is not known before
			ttft = append(ttft, served[len(served)-1].TTFT)
		}
	}
	slices.Sort(ttft)
	return quantile(ttft, 0.5)
}

// BenchmarkWarmingHeldRequest shows why the gateway warms no GPU for a request
// that is held for its staging: a one-token request ahead of it goes through
// the same queue and the same load, and the request then waits for both.
func BenchmarkWarmingHeldRequest(b *testing.B) {
	for _, queue := range []int{0, 3} {
		b.Run(fmt.Sprint(queue, "-others"), func(b *testing.B) {
			for b.Loop() {
				sent, warmed := driveHeld(b, queue)
				b.ReportMetric(float64(sent.Milliseconds()), "ttft-p50-ms")
				b.ReportMetric(float64(warmed.Milliseconds()), "warmed-ttft-p50-ms")
			}
		})
	}
}

// driveHeld returns the median times from sending until the first token of
// prompts that LMCache has in CPU memory, alone and with a one-token request
// ahead, while so many others compete.
func driveHeld(b *testing.B, queue int) (alone, behind time.Duration) {
	b.Helper()
	const conversations = 8
	config := queueingNode
	config.Record, config.Speed = 1000, 20
	nodes, _ := harness.StartNodes(b, 1, config, slowDisk)
	engine, cache := nodes[0].Engine, nodes[0].Cache
	send := func(body string) { harness.Answered(b, http.DefaultClient, engine.URL(), body) }
	question := func(i int) string { return harness.Story(fmt.Sprintf("held%02d", i)) } // all of one length
	for i := range 2 * conversations {
		send(harness.Ask("sim", question(i), false, 1))
	}
	engine.Reset() // LMCache has the blocks in CPU memory, as after a staging
	stop, crowd := make(chan struct{}), new(sync.WaitGroup)
	for i := range queue {
		crowd.Go(func() {
			for j := 0; ; j++ {
				select {
				case <-stop:
					return
				default:
					send(harness.Ask("sim", harness.Story(fmt.Sprint("before it ", i, "-", j)), false, 2))
				}
			}
		})
	}
	ttft := func(body string) time.Duration {
		before := len(engine.Received())
		send(body)
		for _, r := range engine.Received()[before:] {
			if string(r.Body) != body {
				continue
			}
			for _, s := range engine.Served() {
				if s.Request == r.Request {
					return s.TTFT
				}
			}
		}
		b.Fatal("the engine does not report when it answered")
		return 0
	}
	var sent, warmed []time.Duration
	for i := range conversations {
		sent = append(sent, ttft(harness.NextTurn(question(i))))
		ahead := ttft(strings.Replace(harness.NextTurn(question(conversations+i)), `"max_tokens":2`, `"max_tokens":1`, 1))
		warmed = append(warmed, ahead+ttft(harness.NextTurn(question(conversations+i))))
	}
	close(stop)
	crowd.Wait()
	if loads := cache.Stats().Loads; loads < 2*conversations {
		b.Errorf("%d loads from CPU memory: the figures show nothing", loads)
	}
	slices.Sort(sent)
	slices.Sort(warmed)
	return quantile(sent, 0.5), quantile(warmed, 0.5)
}
