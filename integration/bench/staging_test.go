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

// The engines of the load tests: 8,000 tokens a second are computed, 16,000 come
// from disk and 400,000 from CPU memory. The GPU holds four prompts.
var (
	slowDisk     = lmcachesim.NodeConfig{Sizes: lmcachesim.Sizes{DiskRate: 10000, GPURate: 400000, MemoryChunks: 2048}}
	queueingNode = enginesim.Config{
		Models: []string{"sim"}, CacheBlocks: 1200, MaxBatch: 2, OutputTokens: 4, DecodeRate: 200, Speed: 4,
	}
)

// stagingLoad is what came of a load: the engine's own times to the first token
// of the prompts that came back, in simulated time, and their clients', in real
// time; both sorted.
type stagingLoad struct {
	engine, client []time.Duration
	cached         int // prompt tokens
	fromDisk       int // chunks that engines waited for
	staged         float64
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[int(q*float64(len(sorted)-1)+0.5)]
}

// driveStaging has conversations begin, lets what the engines hold of them go to
// disk, and then has each go on among as many new prompts, at a pace that keeps
// a queue in front of the engines.
//
// What the gateway has learned of other engines it remembers, so each load has
// prompts of its own.
func driveStaging(t *testing.T, of string, options func(cachePort string) string, conversations int, between time.Duration) (l stagingLoad) {
	t.Helper()
	old := func(i int) string { return harness.Story(fmt.Sprint(of, "old", i)) }
	nodes, cachePort := harness.StartNodes(t, 1, queueingNode, slowDisk)
	g := harness.StartGateway(t, "caddyfile", harness.StagingSite(nodes, "capacity 16000\n"+options(cachePort)))
	for i := range conversations {
		g.Must(t, harness.Ask("sim", old(i), false, 2))
	}
	served := make([]int, len(nodes))
	for i, n := range nodes {
		n.Cache.EvictMemory()
		n.Engine.Reset()
		served[i] = len(n.Engine.Served())
	}
	before := nodes[0].Cache.Stats().FromDisk
	staged := harness.Metric(t, "caddy_kv_aware_staged_tokens_total")
	var group sync.WaitGroup
	var mu sync.Mutex
	tick := time.NewTicker(between)
	defer tick.Stop()
	send := func(body string, returning bool) {
		<-tick.C
		group.Go(func() {
			start := time.Now()
			if !harness.Answered(t, g.Client, g.URL, body) {
				return
			}
			if returning {
				mu.Lock()
				l.client = append(l.client, time.Since(start))
				mu.Unlock()
			}
		})
	}
	for i := range conversations {
		send(harness.Ask("sim", harness.Story(fmt.Sprint(of, "new", i)), false, 2), false)
		send(harness.Ask("sim", old(i)+" And then?", false, 2), true)
	}
	group.Wait()
	for i, n := range nodes {
		for _, s := range n.Engine.Served()[served[i]:] {
			if s.CachedTokens > 0 {
				l.engine = append(l.engine, s.TTFT)
			}
			l.cached += s.CachedTokens
		}
		l.fromDisk += n.Cache.Stats().FromDisk
	}
	l.fromDisk -= before
	l.staged = harness.Metric(t, "caddy_kv_aware_staged_tokens_total") - staged
	slices.Sort(l.engine)
	slices.Sort(l.client)
	return l
}

// TestStagingShortensTTFT: the same load with and without staging, on an engine
// that has a queue in front of it. Half of the prompts come back, and what was
// computed of them is on disk; the other half is new. What is staged while a
// prompt waits for its turn is loaded from CPU memory then.
func TestStagingShortensTTFT(t *testing.T) {
	const conversations, between = 24, 75 * time.Millisecond
	without := driveStaging(t, "a", func(string) string { return "" }, conversations, between)
	with := driveStaging(t, "b", func(port string) string { return harness.LMCacheOption + port }, conversations, between)
	for name, l := range map[string]stagingLoad{"without staging": without, "with staging": with} {
		t.Logf("%-15s TTFT p50 %v, p95 %v; engines waited for %d chunks from disk; %d tokens cached, %.0f staged", name,
			quantile(l.engine, 0.5).Round(time.Millisecond), quantile(l.engine, 0.95).Round(time.Millisecond), l.fromDisk, l.cached, l.staged)
		if len(l.engine) != conversations {
			t.Errorf("%s: %d prompts found something cached, want %d", name, len(l.engine), conversations)
		}
	}
	if t.Failed() {
		return
	}
	if with.cached != without.cached {
		t.Errorf("%d tokens were cached with staging, %d without: that is not the same load", with.cached, without.cached)
	}
	if !harness.UnderRace && with.fromDisk*2 > without.fromDisk {
		t.Errorf("engines waited for %d chunks from disk with staging, %d without", with.fromDisk, without.fromDisk)
	}
	for _, q := range []float64{0.5, 0.95} {
		// Real time is in these: the race detector changes it.
		if a, b := quantile(with.engine, q), quantile(without.engine, q); !harness.UnderRace && a > b*85/100 {
			t.Errorf("TTFT at %v: %v with staging, %v without", q, a, b)
		}
	}
}

// TestStagingWarmsGPU: what a request for one token gives the next turn of a
// conversation, whose blocks the GPU has lost to others meanwhile.
func TestStagingWarmsGPU(t *testing.T) {
	const conversations, gap = 6, 900 * time.Millisecond
	run := func(options func(cachePort string) string) (median time.Duration, computed int64, warmed float64) {
		config := harness.QuietNode
		config.Responder, config.OutputTokens = harness.CallTool, 16
		nodes, cachePort := harness.StartNodes(t, 1, config, slowDisk)
		g := harness.StartGateway(t, "caddyfile", harness.StagingSite(nodes, "capacity 16000\n"+options(cachePort)))
		engine, cache := nodes[0].Engine, nodes[0].Cache
		before := harness.ResultMetric(t, "caddy_kv_aware_warmups_total", "completed")
		var ttft []time.Duration
		for i := range conversations {
			name := fmt.Sprint("agent", i)
			g.Must(t, harness.AgentTurn(name, 0))
			next := time.After(gap)
			for j := range 5 { // of 4,000 tokens each, on a GPU that holds 19,200
				g.Must(t, harness.Ask("sim", harness.Story(fmt.Sprint(name, "'s neighbour ", j)), false, 2))
			}
			cache.EvictMemory() // there, too, others came
			<-next
			g.Must(t, harness.AgentTurn(name, 1))
			if served := engine.Served(); i > 0 { // the first gap is not known before
				ttft = append(ttft, served[len(served)-1].TTFT)
			}
		}
		slices.Sort(ttft)
		stats := engine.Stats()
		return quantile(ttft, 0.5), stats.PromptTokens - stats.CachedTokens - stats.ExternalHits, harness.ResultMetric(t, "caddy_kv_aware_warmups_total", "completed") - before
	}
	off, offComputed, _ := run(func(string) string { return "" })
	on, onComputed, warmed := run(func(port string) string { return harness.LMCacheOption + port + " {\n warm_gpu on\n }" })
	t.Logf("TTFT p50 of next turns: %v warmed, %v without; %.0f requests for one token for %d turns; %d tokens computed, %d without",
		on.Round(time.Millisecond), off.Round(time.Millisecond), warmed, conversations, onComputed, offComputed)
	if warmed == 0 {
		t.Fatal("nothing was warmed")
	}
	if !harness.UnderRace && on*2 > off {
		t.Errorf("TTFT %v with warm_gpu, %v without", on, off)
	}
}

// TestWarmingWhatIsHeldGainsNothing is why a request that is held for its staging
// has no GPU warmed before it is sent: it brings its blocks there itself, as soon
// as one for one token would. One ahead of it goes through the same queue and the
// same load, and the request then waits for both.
func TestWarmingWhatIsHeldGainsNothing(t *testing.T) {
	const conversations = 8
	for _, queue := range []int{0, 3} {
		config := queueingNode
		config.Record, config.Speed = 1000, 20
		nodes, _ := harness.StartNodes(t, 1, config, slowDisk)
		engine, cache := nodes[0].Engine, nodes[0].Cache
		question := func(i int) string { return harness.Story(fmt.Sprintf("held%02d", i)) } // all of one length
		for i := range 2 * conversations {
			harness.Answered(t, http.DefaultClient, engine.URL(), harness.Ask("sim", question(i), false, 1))
		}
		engine.Reset() // what LMCache has is in CPU memory, as after a staging
		stop, crowd := make(chan struct{}), new(sync.WaitGroup)
		for i := range queue {
			crowd.Go(func() {
				for j := 0; ; j++ {
					select {
					case <-stop:
						return
					default:
						harness.Answered(t, http.DefaultClient, engine.URL(), harness.Ask("sim", harness.Story(fmt.Sprint("before it ", i, "-", j)), false, 2))
					}
				}
			})
		}
		ttft := func(body string) time.Duration {
			before := len(engine.Received())
			harness.Answered(t, http.DefaultClient, engine.URL(), body)
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
			t.Fatal("the engine does not tell when it was answered")
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
			t.Errorf("%d loads from CPU memory: this proves nothing", loads)
		}
		slices.Sort(sent)
		slices.Sort(warmed)
		t.Logf("%d others at a time: first token of what is staged %v after it is sent, %v with a request for one token ahead of it", queue,
			quantile(sent, 0.5).Round(time.Millisecond), quantile(warmed, 0.5).Round(time.Millisecond))
		if quantile(warmed, 0.5) <= quantile(sent, 0.5) {
			t.Errorf("with %d others at a time it is sooner: %v, %v", queue, quantile(warmed, 0.5), quantile(sent, 0.5))
		}
	}
}
