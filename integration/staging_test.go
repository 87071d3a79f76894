// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
	"github.com/bauxite/caddy-kvaware/internal/sim/lmcachesim"
)

// stagingNode is a host: an engine and the LMCache beside it, at one address.
type StagingNode struct {
	Engine *enginesim.Engine
	Cache  *lmcachesim.Node
}

// startNodes starts hosts whose LMCache is at the same port on each.
func StartNodes(t testing.TB, n int, engine enginesim.Config, cache lmcachesim.NodeConfig) (nodes []StagingNode, cachePort string) {
	t.Helper()
	cachePort = "0"
	for range n {
		node := StartNode(t, engine, cache, cachePort)
		cachePort = PortOf(node.Cache.Addr())
		nodes = append(nodes, node)
	}
	return nodes, cachePort
}

// startNode starts a host at an address where the ports it wants are free.
func StartNode(t testing.TB, engine enginesim.Config, cache lmcachesim.NodeConfig, cachePort string) StagingNode {
	t.Helper()
	for range 100 {
		host := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(255), 1+rand.IntN(254))
		c, err := lmcachesim.StartNode(net.JoinHostPort(host, cachePort), cache)
		if err != nil {
			continue
		}
		engine.External = c
		e, err := enginesim.StartAt(engine, net.JoinHostPort(host, "0"))
		if err != nil {
			c.Close()
			continue
		}
		t.Cleanup(c.Close)
		t.Cleanup(e.Close)
		return StagingNode{e, c}
	}
	t.Fatal("no loopback addresses are free")
	return StagingNode{}
}

// answered sends a chat request and reports whether it was answered, which it
// should be. Unlike most that send requests it may be called in any goroutine.
func Answered(t *testing.T, client *http.Client, url, body string) bool {
	t.Helper()
	answer, err := client.Post(url+ChatPath, "application/json", strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return false
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("status %d", answer.StatusCode)
	}
	return answer.StatusCode == http.StatusOK
}

func EnginesOf(nodes []StagingNode) (engines []*enginesim.Engine) {
	for _, n := range nodes {
		engines = append(engines, n.Engine)
	}
	return engines
}

// stagingSite is a site whose policy has these options.
func StagingSite(nodes []StagingNode, options string) string {
	return fmt.Sprintf(":8080 {\n pii_janitor\n reverse_proxy %s {\n lb_retries 2\n lb_retry_match {\n method POST\n }\n lb_policy kv_aware {\n %s\n }\n }\n}", Addresses(EnginesOf(nodes)), options)
}

const LMCacheOption = "lmcache http://{http.reverse_proxy.upstream.host}:"

// The engines of the load tests: 8,000 tokens a second are computed, 16,000 come
// from disk and 400,000 from CPU memory. The GPU holds four prompts.
var (
	slowDisk     = lmcachesim.NodeConfig{Sizes: lmcachesim.Sizes{DiskRate: 10000, GPURate: 400000, MemoryChunks: 2048}}
	queueingNode = enginesim.Config{
		Models: []string{"sim"}, CacheBlocks: 1200, MaxBatch: 2, OutputTokens: 4, DecodeRate: 200, Speed: 4,
	}
)

// story is a prompt of some 4,000 tokens that starts like no other.
func Story(name string) string {
	return "Story " + name + ". " + strings.Repeat("What "+name+" says about the matter. ", 560)
}

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
	old := func(i int) string { return Story(fmt.Sprint(of, "old", i)) }
	nodes, cachePort := StartNodes(t, 1, queueingNode, slowDisk)
	g := StartGateway(t, "caddyfile", StagingSite(nodes, "capacity 16000\n"+options(cachePort)))
	for i := range conversations {
		g.Must(t, Ask("sim", old(i), false, 2))
	}
	served := make([]int, len(nodes))
	for i, n := range nodes {
		n.Cache.EvictMemory()
		n.Engine.Reset()
		served[i] = len(n.Engine.Served())
	}
	before := nodes[0].Cache.Stats().FromDisk
	staged := Metric(t, "caddy_kv_aware_staged_tokens_total")
	var group sync.WaitGroup
	var mu sync.Mutex
	tick := time.NewTicker(between)
	defer tick.Stop()
	send := func(body string, returning bool) {
		<-tick.C
		group.Go(func() {
			start := time.Now()
			if !Answered(t, g.Client, g.URL, body) {
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
		send(Ask("sim", Story(fmt.Sprint(of, "new", i)), false, 2), false)
		send(Ask("sim", old(i)+" And then?", false, 2), true)
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
	l.staged = Metric(t, "caddy_kv_aware_staged_tokens_total") - staged
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
	with := driveStaging(t, "b", func(port string) string { return LMCacheOption + port }, conversations, between)
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
	if !UnderRace && with.fromDisk*2 > without.fromDisk {
		t.Errorf("engines waited for %d chunks from disk with staging, %d without", with.fromDisk, without.fromDisk)
	}
	for _, q := range []float64{0.5, 0.95} {
		// Real time is in these: the race detector changes it.
		if a, b := quantile(with.engine, q), quantile(without.engine, q); !UnderRace && a > b*85/100 {
			t.Errorf("TTFT at %v: %v with staging, %v without", q, a, b)
		}
	}
}
