// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
	"github.com/bauxite/caddy-kvaware/internal/sim/lmcachesim"
)

// orders counts the staging requests to a node.
func orders(n *lmcachesim.Node) (count int) {
	for _, r := range n.Received() {
		if r.Method == http.MethodPost && r.Path == "/cache/prefetches" {
			count++
		}
	}
	return count
}

// TestStagingAfterToolCalls: after an answer that ends in tool calls, the next turn
// finds its blocks in CPU memory. Without the staging it loads them from disk.
func TestStagingAfterToolCalls(t *testing.T) {
	config := harness.QuietNode
	config.Responder, config.OutputTokens = harness.CallTool, 16
	nodes, cachePort := harness.StartNodes(t, 1, config, lmcachesim.NodeConfig{})
	g := harness.StartGateway(t, "caddyfile", harness.StagingSite(nodes, harness.LMCacheOption+cachePort))
	node := nodes[0]
	g.Must(t, harness.AgentTurn("one", 0))
	harness.Await(t, "the first turn is staged for the next", func() bool { return orders(node.Cache) == 1 })
	awaitStaged(t, 1)
	node.Cache.EvictMemory()
	node.Engine.Reset()
	g.Must(t, harness.AgentTurn("one", 1)) // the engine loads from disk
	fromDisk := node.Cache.Stats().FromDisk
	if fromDisk == 0 {
		t.Fatal("the second turn waited for nothing from disk: this proves nothing")
	}
	harness.Await(t, "the second turn is staged for the next", func() bool { return orders(node.Cache) == 2 })
	awaitStaged(t, 2)
	node.Engine.Reset()
	g.Must(t, harness.AgentTurn("one", 2))
	if now := node.Cache.Stats().FromDisk; now != fromDisk {
		t.Errorf("the third turn waited for %d chunks from disk", now-fromDisk)
	}
	before := orders(node.Cache)
	g.Must(t, harness.Ask("sim", "Hello.", false, 2))
	g.Must(t, harness.Ask("sim", harness.Story("two"), false, 2))
	if now := orders(node.Cache); now > before+1 { // the one for the third turn may still come
		t.Errorf("%d stagings for answers without tool calls", now-before)
	}
}

// TestStagingAfterToolCallsOfAnyKind: the gateway recognizes answers that end in
// tool calls, whole and streamed, and has their prompts staged in every API.
func TestStagingAfterToolCallsOfAnyKind(t *testing.T) {
	config := harness.QuietNode
	config.Responder, config.OutputTokens, config.ScaleOut = harness.CallTool, 16, true
	nodes, cachePort := harness.StartNodes(t, 1, config, lmcachesim.NodeConfig{})
	g := harness.StartGateway(t, "caddyfile", harness.StagingSite(nodes, harness.LMCacheOption+cachePort))
	const function = `{"name":"look","parameters":{"type":"object"}}`
	staged := 0
	for _, c := range []struct{ path, body string }{
		{"/v1/messages", `"max_tokens":64,"messages":[{"role":"user","content":%q}],"tools":[{"name":"look","input_schema":{"type":"object"}}]`},
		{"/v1/responses", `"input":[{"role":"user","content":%q}],"tools":[{"type":"function","name":"look","parameters":{"type":"object"}}]`},
		{harness.ChatPath, `"messages":[{"role":"user","content":%q}],"tools":[{"type":"function","function":` + function + `}]`},
	} {
		for _, stream := range []bool{false, true} {
			body := fmt.Sprintf(`{"model":"sim","stream":%v,`+c.body+`}`, stream, harness.Story(fmt.Sprint(c.path, " ", stream)))
			answer := g.Post(t, c.path, body)
			if answer.Status != http.StatusOK || !strings.Contains(answer.Body, "look") {
				t.Fatalf("%s, streamed: %v: status %d, no tool is called: %.300s", c.path, stream, answer.Status, answer.Body)
			}
			staged++
			harness.Await(t, fmt.Sprintf("%s, streamed: %v: it is staged for the next turn", c.path, stream), func() bool { return orders(nodes[0].Cache) >= staged })
		}
	}
	if n := orders(nodes[0].Cache); n != staged {
		t.Errorf("%d stagings, want %d", n, staged)
	}
}

// awaitStaged returns once so many stagings are done.
func awaitStaged(t *testing.T, n int) {
	t.Helper()
	harness.Await(t, fmt.Sprint(n, " stagings are done"), func() bool {
		return harness.ResultMetric(t, "caddy_kv_aware_staging_total", "completed")+harness.ResultMetric(t, "caddy_kv_aware_staging_total", "partial") >= float64(n)
	})
}

// TestStagingWarmsGPU: a one-token request ahead of the next turn brings the
// conversation's blocks back to the GPU, which has lost them to other prompts.
func TestStagingWarmsGPU(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for next turns")
	}
	config := harness.QuietNode
	config.OutputTokens = 16
	config.Responder = func(r enginesim.Request) enginesim.Reply { // a second turn has no next one
		if strings.Contains(string(r.Body), `"role":"tool"`) {
			return enginesim.Reply{Text: "Fine."}
		}
		return harness.CallTool(r)
	}
	nodes, cachePort := harness.StartNodes(t, 1, config, lmcachesim.NodeConfig{})
	g := harness.StartGateway(t, "caddyfile", harness.StagingSite(nodes, "capacity 16000\n"+harness.LMCacheOption+cachePort+" {\n warm_gpu on\n }"))
	engine := nodes[0].Engine
	warmed := func() float64 { return harness.ResultMetric(t, "caddy_kv_aware_warmups_total", "completed") }
	const conversations = 8
	for i := range conversations {
		name := fmt.Sprint("warmed", i)
		before := warmed()
		g.Must(t, harness.AgentTurn(name, 0))
		next := time.After(900 * time.Millisecond) // the gap that the gateway learns
		for j := range 5 {                         // of 4,000 tokens each, on a GPU that holds 19,200
			g.Must(t, harness.Ask("sim", harness.Story(fmt.Sprint(name, "'s neighbor ", j)), false, 2))
		}
		if early := warmed() > before; i == 0 || early { // nothing learned yet, or a busy machine
			<-next
			g.Must(t, harness.AgentTurn(name, 1))
			continue
		}
		harness.Await(t, "the GPU is warmed for the next turn", func() bool { return warmed() > before })
		cached, external := engine.Stats().CachedTokens, engine.Stats().ExternalHits
		g.Must(t, harness.AgentTurn(name, 1))
		now := engine.Stats()
		if now.CachedTokens-cached < 4000 || now.ExternalHits != external {
			t.Errorf("the GPU had %d tokens of the next turn, LMCache %d", now.CachedTokens-cached, now.ExternalHits-external)
		}
		return
	}
	t.Error("the GPU was warmed too early each time: this proves nothing")
}

// TestStagingOnFailover: when the node of a conversation fails, the conversation is
// staged on the node that takes over.
func TestStagingOnFailover(t *testing.T) {
	harness.Attempt(t, func(int) string {
		nodes, cachePort := harness.StartNodes(t, 2, harness.QuietNode, lmcachesim.NodeConfig{})
		g := harness.StartGateway(t, "caddyfile", harness.StagingSite(nodes, harness.LMCacheOption+cachePort))
		g.Must(t, harness.Ask("sim", harness.Story("one"), false, 2))
		first := slices.IndexFunc(nodes, func(n harness.StagingNode) bool { return len(n.Engine.Served()) == 1 })
		if first < 0 || orders(nodes[0].Cache)+orders(nodes[1].Cache) != 0 {
			t.Fatal("a new prompt was staged")
		}
		if err := nodes[first].Engine.Fault(enginesim.Fault{Kind: enginesim.Reset}); err != nil {
			t.Fatal(err)
		}
		g.Must(t, harness.Ask("sim", harness.Story("one")+" And then?", false, 2))
		staged := harness.Soon(func() bool { return orders(nodes[1-first].Cache) == 1 })
		if n := orders(nodes[first].Cache); n != 0 {
			t.Errorf("the node that failed was asked %d times", n)
		}
		if !staged {
			return "the other node was not asked to stage"
		}
		return ""
	})
}

// TestStagingWhereOneIsDown: once a node is known to be down, its conversations go to
// the other at the first attempt, and are staged there too. Other prompts are not.
func TestStagingWhereOneIsDown(t *testing.T) {
	nodes, cachePort := harness.StartNodes(t, 2, harness.QuietNode, lmcachesim.NodeConfig{})
	g := harness.StartGateway(t, "caddyfile", strings.Replace(harness.StagingSite(nodes, harness.LMCacheOption+cachePort), "lb_retries 2", "lb_retries 2\n fail_duration 1m", 1))
	at := make(map[int][]string)
	for i := 0; len(at[0]) < 2 || len(at[1]) < 1; i++ {
		if i == 50 {
			t.Fatal("all conversations go to one node: this proves nothing")
		}
		question := harness.Story(fmt.Sprint("down", i))
		home := servedBy(t, g, nodes, harness.Ask("sim", question, false, 2))
		at[home] = append(at[home], question)
	}
	if err := nodes[0].Engine.Fault(enginesim.Fault{Kind: enginesim.Refuse}); err != nil {
		t.Fatal(err)
	}
	for i, question := range at[0][:2] {
		if home := servedBy(t, g, nodes, harness.NextTurn(question)); home != 1 {
			t.Fatalf("served by node %d, which is down", home)
		}
		harness.Await(t, "the node that takes over is asked to stage", func() bool { return orders(nodes[1].Cache) == i+1 })
	}
	servedBy(t, g, nodes, harness.NextTurn(at[1][0]))
	servedBy(t, g, nodes, harness.Ask("sim", harness.Story("new, with one down"), false, 2))
	servedBy(t, g, nodes, harness.NextTurn(at[0][0]+" ")) // is staged there already
	if n := orders(nodes[1].Cache); n > 2 {
		t.Errorf("%d stagings for two conversations of the node that is down", n)
	}
	if n := orders(nodes[0].Cache); n != 0 {
		t.Errorf("the node that is down was asked %d times", n)
	}
}

// restartAll restarts the engines of all nodes, and leaves LMCache its disks.
func restartAll(t *testing.T, nodes []harness.StagingNode) {
	t.Helper()
	for _, n := range nodes {
		harness.AwaitMetricsRead(t, n.Engine) // the gateway compares them with those after the restart
	}
	for _, n := range nodes {
		if err := n.Engine.Restart(); err != nil {
			t.Fatal(err)
		}
		n.Cache.EvictMemory()
	}
}

// TestStagingAfterARestart: an engine that was restarted holds nothing, but the disk
// beside it does. Its conversations come back to it and are staged.
func TestStagingAfterARestart(t *testing.T) {
	nodes, cachePort := harness.StartNodes(t, 2, harness.QuietNode, lmcachesim.NodeConfig{})
	g := harness.StartGateway(t, "caddyfile", harness.StagingSite(nodes, harness.LMCacheOption+cachePort+" {\n wait "+longWait.String()+"\n }"))
	var home [4]int
	for i := range home {
		home[i] = servedBy(t, g, nodes, harness.Ask("sim", harness.Story(fmt.Sprint("restart", i)), false, 2))
	}
	restartAll(t, nodes)
	for i := range home {
		question := harness.NextTurn(harness.Story(fmt.Sprint("restart", i)))
		harness.Await(t, "the restart is known", func() bool {
			return onlyExternal(t, question, nodes[home[i]])
		})
		before := orders(nodes[home[i]].Cache)
		notFromDisk(t, nodes, func() {
			if at := servedBy(t, g, nodes, question); at != home[i] {
				t.Errorf("conversation %d went to node %d, its blocks are on %d's disk", i, at, home[i])
			}
		})
		harness.Await(t, "the conversation is staged", func() bool { return orders(nodes[home[i]].Cache) == before+1 })
	}
}

// onlyExternal reports whether a story is predicted to be in a node's LMCache, and not on
// its GPU.
func onlyExternal(t *testing.T, body string, n harness.StagingNode) bool {
	t.Helper()
	cached, external := harness.Forecasts(t, body)
	at := n.Engine.Addr()
	return cached[at] > 4000 && cached[at] == external[at]
}

// TestWastedStagings: a staging counts as wasted when the next turn of its
// conversation goes to another node.
func TestWastedStagings(t *testing.T) {
	config := harness.QuietNode
	config.Responder, config.OutputTokens = harness.CallTool, 16
	nodes, cachePort := harness.StartNodes(t, 2, config, lmcachesim.NodeConfig{})
	g := harness.StartGateway(t, "caddyfile", harness.StagingSite(nodes, harness.LMCacheOption+cachePort))
	wasted := harness.Metric(t, "caddy_kv_aware_staging_wasted_total")
	done := func() float64 {
		return harness.ResultMetric(t, "caddy_kv_aware_staging_total", "completed") + harness.ResultMetric(t, "caddy_kv_aware_staging_total", "partial")
	}
	turn := func(name string, n int) (at int) {
		t.Helper()
		before := done()
		at = servedBy(t, g, nodes, harness.AgentTurn(name, n))
		harness.Await(t, "the next turn is staged", func() bool { return done() > before })
		return at
	}
	first := turn("used", 0)
	for _, n := range nodes {
		n.Engine.Reset()
	}
	if at := turn("used", 1); at != first {
		t.Fatalf("the next turn went to node %d, it was staged on %d", at, first)
	}
	served := nodes[first].Engine.Served()
	if cached := served[len(served)-1].CachedTokens; cached < 4000 {
		t.Fatalf("the next turn found %d tokens: this proves nothing", cached)
	}
	if n := harness.Metric(t, "caddy_kv_aware_staging_wasted_total") - wasted; n != 0 {
		t.Errorf("%v stagings count as wasted, and one was used", n)
	}
	first = turn("wasted", 0)
	if err := nodes[first].Engine.Fault(enginesim.Fault{Kind: enginesim.Refuse}); err != nil {
		t.Fatal(err)
	}
	if at := turn("wasted", 1); at == first {
		t.Fatalf("served by node %d, which is down", at)
	}
	harness.Await(t, "the staging counts as wasted", func() bool { return harness.Metric(t, "caddy_kv_aware_staging_wasted_total")-wasted == 1 })
}

// TestLookupsDecide: conversations that the gateway has forgotten go to the node that
// has their blocks, as LMCache reports.
func TestLookupsDecide(t *testing.T) {
	nodes, _ := harness.StartNodes(t, 3, harness.QuietNode, lmcachesim.NodeConfig{})
	coordinator := startCoordinator(t, nodes)
	g := harness.StartGateway(t, "caddyfile", harness.StagingSite(nodes, "lmcache coordinator "+coordinator.URL()))
	const conversations = 6
	var home [conversations]int
	looked := harness.ResultMetric(t, "caddy_kv_aware_staging_lookups_total", "completed")
	for i := range home {
		home[i] = servedBy(t, g, nodes, harness.Ask("sim", harness.Story(fmt.Sprint("old", i)), false, 2))
	}
	harness.Await(t, "LMCache has reported the holders", func() bool {
		return harness.ResultMetric(t, "caddy_kv_aware_staging_lookups_total", "completed")-looked >= conversations
	})
	if home[0] == home[1] && home[1] == home[2] {
		t.Fatal("all conversations went to one node: this proves nothing")
	}
	for _, n := range nodes {
		forget(t, n.Engine.Addr())
	}
	for _, i := range []int{3, 0, 4, 1, 5, 2} {
		if at := servedBy(t, g, nodes, harness.NextTurn(harness.Story(fmt.Sprint("old", i)))); at != home[i] {
			t.Errorf("conversation %d went to node %d, its blocks are on %d", i, at, home[i])
		}
	}
}

// forget makes the gateway forget an upstream, as its admin API does.
func forget(t *testing.T, address string) {
	t.Helper()
	if status, answer := harness.Admin(t, http.MethodDelete, "/kv_aware/upstreams/"+url.PathEscape(address), ""); status != http.StatusOK {
		t.Fatalf("status %d: %s", status, answer)
	}
}
