// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
	"github.com/bauxite/caddy-kvaware/internal/sim/lmcachesim"
)

// callsTool answers what offers tools with a call of one.
func callsTool(r enginesim.Request) enginesim.Reply {
	if strings.Contains(string(r.Body), `"tools"`) {
		return enginesim.Reply{ToolCalls: []enginesim.ToolCall{{Name: "look", Arguments: "{}"}}}
	}
	return enginesim.Reply{Text: "Fine."}
}

// agent is a conversation that runs tools, after so many of its turns.
func agent(name string, turns int) string {
	messages := []map[string]any{{"role": "user", "content": story(name)}}
	for i := range turns {
		id := fmt.Sprint("call", i)
		messages = append(messages,
			map[string]any{"role": "assistant", "content": nil, "tool_calls": []any{map[string]any{"id": id, "type": "function", "function": map[string]string{"name": "look", "arguments": "{}"}}}},
			map[string]any{"role": "tool", "tool_call_id": id, "content": fmt.Sprint("It is there. ", strings.Repeat(id+" found it. ", 40))})
	}
	body, err := json.Marshal(map[string]any{
		"model": "sim", "messages": messages, "max_tokens": 64,
		"tools": []any{map[string]any{"type": "function", "function": map[string]any{"name": "look", "parameters": map[string]any{"type": "object"}}}},
	})
	if err != nil {
		panic(err)
	}
	return string(body)
}

// orders counts the stagings that a node was asked for.
func orders(n *lmcachesim.Node) (count int) {
	for _, r := range n.Received() {
		if r.Method == http.MethodPost && r.Path == "/cache/prefetches" {
			count++
		}
	}
	return count
}

// TestStagingAfterToolCalls: the next turn of a conversation whose answer ends
// in tool calls finds in CPU memory what the turn before had to take from disk.
func TestStagingAfterToolCalls(t *testing.T) {
	config := quietNode
	config.Responder, config.OutputTokens = callsTool, 16
	nodes, cachePort := startNodes(t, 1, config, lmcachesim.NodeConfig{})
	g := startGateway(t, "caddyfile", stagingSite(nodes, lmcacheOption+cachePort))
	node := nodes[0]
	g.must(t, agent("one", 0))
	eventually(t, "the first turn is staged for the next", func() bool { return orders(node.cache) == 1 })
	awaitStaged(t, 1)
	node.cache.EvictMemory()
	node.engine.Reset()
	g.must(t, agent("one", 1)) // the engine is idle: it loads from disk itself
	fromDisk := node.cache.Stats().FromDisk
	if fromDisk == 0 {
		t.Fatal("the second turn waited for nothing from disk: this proves nothing")
	}
	eventually(t, "the second turn is staged for the next", func() bool { return orders(node.cache) == 2 })
	awaitStaged(t, 2)
	node.engine.Reset()
	g.must(t, agent("one", 2))
	if now := node.cache.Stats().FromDisk; now != fromDisk {
		t.Errorf("the third turn waited for %d chunks from disk", now-fromDisk)
	}
	before := orders(node.cache)
	g.must(t, ask("sim", "Hello.", false, 2))
	g.must(t, ask("sim", story("two"), false, 2))
	if now := orders(node.cache); now > before+1 { // the third turn's may still come
		t.Errorf("%d stagings for answers without tool calls", now-before)
	}
}

// TestStagingAfterToolCallsOfAnyKind: answers that end in tool calls are known
// whole and streamed. Engines tell the tokens of chats; prompts of Anthropic's
// messages and of OpenAI's responses are served and not staged.
func TestStagingAfterToolCallsOfAnyKind(t *testing.T) {
	config := quietNode
	config.Responder, config.OutputTokens, config.ScaleOut = callsTool, 16, true
	nodes, cachePort := startNodes(t, 1, config, lmcachesim.NodeConfig{})
	g := startGateway(t, "caddyfile", stagingSite(nodes, lmcacheOption+cachePort))
	const function = `{"name":"look","parameters":{"type":"object"}}`
	staged := 0
	for _, c := range []struct {
		path, body string
		staged     int
	}{
		{"/v1/messages", `"max_tokens":64,"messages":[{"role":"user","content":%q}],"tools":[{"name":"look","input_schema":{"type":"object"}}]`, 0},
		{"/v1/responses", `"input":[{"role":"user","content":%q}],"tools":[{"type":"function","name":"look","parameters":{"type":"object"}}]`, 0},
		{chatPath, `"messages":[{"role":"user","content":%q}],"tools":[{"type":"function","function":` + function + `}]`, 1},
	} {
		for _, stream := range []bool{false, true} {
			body := fmt.Sprintf(`{"model":"sim","stream":%v,`+c.body+`}`, stream, story(fmt.Sprint(c.path, " ", stream)))
			answer := g.post(t, c.path, body)
			if answer.status != http.StatusOK || !strings.Contains(answer.body, "look") {
				t.Fatalf("%s, streamed: %v: status %d, no tool is called: %.300s", c.path, stream, answer.status, answer.body)
			}
			staged += c.staged
			eventually(t, fmt.Sprintf("%s, streamed: %v: it is staged for the next turn", c.path, stream), func() bool { return orders(nodes[0].cache) >= staged })
		}
	}
	if n := orders(nodes[0].cache); n != staged {
		t.Errorf("%d stagings, want %d", n, staged)
	}
}

// awaitStaged returns once so many stagings are done.
func awaitStaged(t *testing.T, n int) {
	t.Helper()
	eventually(t, fmt.Sprint(n, " stagings are done"), func() bool {
		return labelled(t, "caddy_kv_aware_staging_total", "completed")+labelled(t, "caddy_kv_aware_staging_total", "partial") >= float64(n)
	})
}

// labelled returns a metric's value for a result.
func labelled(t *testing.T, name, result string) float64 {
	t.Helper()
	families, err := registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == result {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

// TestStagingWarmsGPU: what a request for one token gives the next turn of a
// conversation, whose blocks the GPU has lost to others meanwhile.
func TestStagingWarmsGPU(t *testing.T) {
	const conversations, gap = 6, 900 * time.Millisecond
	run := func(options func(cachePort string) string) (median time.Duration, computed int64, warmed float64) {
		config := quietNode
		config.Responder, config.OutputTokens = callsTool, 16
		nodes, cachePort := startNodes(t, 1, config, slowDisk)
		g := startGateway(t, "caddyfile", stagingSite(nodes, "capacity 16000\n"+options(cachePort)))
		engine, cache := nodes[0].engine, nodes[0].cache
		before := labelled(t, "caddy_kv_aware_warmups_total", "completed")
		var ttft []time.Duration
		for i := range conversations {
			name := fmt.Sprint("agent", i)
			g.must(t, agent(name, 0))
			next := time.After(gap)
			for j := range 5 { // of 4,000 tokens each, on a GPU that holds 19,200
				g.must(t, ask("sim", story(fmt.Sprint(name, "'s neighbour ", j)), false, 2))
			}
			cache.EvictMemory() // there, too, others came
			<-next
			g.must(t, agent(name, 1))
			if served := engine.Served(); i > 0 { // the first gap is not known before
				ttft = append(ttft, served[len(served)-1].TTFT)
			}
		}
		slices.Sort(ttft)
		stats := engine.Stats()
		return quantile(ttft, 0.5), stats.PromptTokens - stats.CachedTokens - stats.ExternalHits, labelled(t, "caddy_kv_aware_warmups_total", "completed") - before
	}
	off, offComputed, _ := run(func(string) string { return "" })
	on, onComputed, warmed := run(func(port string) string { return lmcacheOption + port + " {\n warm_gpu on\n }" })
	t.Logf("TTFT p50 of next turns: %v warmed, %v without; %.0f requests for one token for %d turns; %d tokens computed, %d without",
		on.Round(time.Millisecond), off.Round(time.Millisecond), warmed, conversations, onComputed, offComputed)
	if warmed == 0 {
		t.Fatal("nothing was warmed")
	}
	if !underRace && on*2 > off {
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
		nodes, _ := startNodes(t, 1, config, slowDisk)
		engine, cache := nodes[0].engine, nodes[0].cache
		question := func(i int) string { return story(fmt.Sprintf("held%02d", i)) } // all of one length
		for i := range 2 * conversations {
			directly(t, engine, ask("sim", question(i), false, 1))
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
						directly(t, engine, ask("sim", story(fmt.Sprint("before it ", i, "-", j)), false, 2))
					}
				}
			})
		}
		ttft := func(body string) time.Duration {
			before := len(engine.Received())
			directly(t, engine, body)
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
			sent = append(sent, ttft(goneOn(question(i))))
			ahead := ttft(strings.Replace(goneOn(question(conversations+i)), `"max_tokens":2`, `"max_tokens":1`, 1))
			warmed = append(warmed, ahead+ttft(goneOn(question(conversations+i))))
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

// TestStagingOnFailover: a conversation whose node has gone is staged on the one
// that takes over.
func TestStagingOnFailover(t *testing.T) {
	nodes, cachePort := startNodes(t, 2, quietNode, lmcachesim.NodeConfig{})
	g := startGateway(t, "caddyfile", stagingSite(nodes, lmcacheOption+cachePort))
	g.must(t, ask("sim", story("one"), false, 2))
	first := slices.IndexFunc(nodes, func(n stagingNode) bool { return len(n.engine.Served()) == 1 })
	if first < 0 || orders(nodes[0].cache)+orders(nodes[1].cache) != 0 {
		t.Fatal("a new prompt was staged")
	}
	if err := nodes[first].engine.Fault(enginesim.Fault{Kind: enginesim.Reset}); err != nil {
		t.Fatal(err)
	}
	g.must(t, ask("sim", story("one")+" And then?", false, 2))
	eventually(t, "the other node is asked to stage", func() bool { return orders(nodes[1-first].cache) == 1 })
	if n := orders(nodes[first].cache); n != 0 {
		t.Errorf("the node that failed was asked %d times", n)
	}
}

// TestStagingWhereOneIsDown: once a node is known to be down its conversations go
// elsewhere at the first attempt. They are staged there as well; what was never on
// the node that is down is not.
func TestStagingWhereOneIsDown(t *testing.T) {
	nodes, cachePort := startNodes(t, 2, quietNode, lmcachesim.NodeConfig{})
	g := startGateway(t, "caddyfile", strings.Replace(stagingSite(nodes, lmcacheOption+cachePort), "lb_retries 2", "lb_retries 2\n fail_duration 1m", 1))
	at := make(map[int][]string)
	for i := 0; len(at[0]) < 2 || len(at[1]) < 1; i++ {
		if i == 50 {
			t.Fatal("all go to one node: this proves nothing")
		}
		question := story(fmt.Sprint("down", i))
		home := servedBy(t, g, nodes, ask("sim", question, false, 2))
		at[home] = append(at[home], question)
	}
	if err := nodes[0].engine.Fault(enginesim.Fault{Kind: enginesim.Refuse}); err != nil {
		t.Fatal(err)
	}
	for i, question := range at[0][:2] {
		if home := servedBy(t, g, nodes, goneOn(question)); home != 1 {
			t.Fatalf("served by node %d, which is down", home)
		}
		eventually(t, "the node that takes over is asked to stage", func() bool { return orders(nodes[1].cache) == i+1 })
	}
	servedBy(t, g, nodes, goneOn(at[1][0]))
	servedBy(t, g, nodes, ask("sim", story("new, with one down"), false, 2))
	servedBy(t, g, nodes, goneOn(at[0][0]+" ")) // is staged there already, or never was anywhere
	if n := orders(nodes[1].cache); n > 2 {
		t.Errorf("%d stagings for two conversations of the node that is down", n)
	}
	if n := orders(nodes[0].cache); n != 0 {
		t.Errorf("the node that is down was asked %d times", n)
	}
}

// TestStagingAfterARestart: an engine that was restarted holds nothing any more,
// but the disk beside it does: its conversations come back to it, and are staged.
func TestStagingAfterARestart(t *testing.T) {
	nodes, cachePort := startNodes(t, 2, quietNode, lmcachesim.NodeConfig{})
	g := startGateway(t, "caddyfile", stagingSite(nodes, lmcacheOption+cachePort+" {\n wait "+longWait.String()+"\n }"))
	var home [4]int
	for i := range home {
		home[i] = servedBy(t, g, nodes, ask("sim", story(fmt.Sprint("restart", i)), false, 2))
	}
	for _, n := range nodes {
		awaitReading(t, n.engine) // to be compared with
	}
	for _, n := range nodes {
		if err := n.engine.Restart(); err != nil {
			t.Fatal(err)
		}
		n.cache.EvictMemory()
	}
	for i := range home {
		question := goneOn(story(fmt.Sprint("restart", i)))
		eventually(t, "the restart is known", func() bool {
			cached := forecast(t, question)
			return cached[nodes[0].engine.Addr()]+cached[nodes[1].engine.Addr()] == 0
		})
		before := orders(nodes[home[i]].cache)
		notFromDisk(t, nodes, func() {
			if at := servedBy(t, g, nodes, question); at != home[i] {
				t.Errorf("conversation %d went to node %d, its blocks are on %d's disk", i, at, home[i])
			}
		})
		eventually(t, "it is staged", func() bool { return orders(nodes[home[i]].cache) == before+1 })
	}
}

// TestWastedStagings: what is staged for a conversation's next turn is used when
// that finds it, and wasted when it goes elsewhere.
func TestWastedStagings(t *testing.T) {
	config := quietNode
	config.Responder, config.OutputTokens = callsTool, 16
	nodes, cachePort := startNodes(t, 2, config, lmcachesim.NodeConfig{})
	g := startGateway(t, "caddyfile", stagingSite(nodes, lmcacheOption+cachePort))
	wasted := metric(t, "caddy_kv_aware_staging_wasted_total")
	done := func() float64 {
		return labelled(t, "caddy_kv_aware_staging_total", "completed") + labelled(t, "caddy_kv_aware_staging_total", "partial")
	}
	turn := func(name string, n int) (at int) {
		t.Helper()
		before := done()
		at = servedBy(t, g, nodes, agent(name, n))
		eventually(t, "the next turn is staged", func() bool { return done() > before })
		return at
	}
	first := turn("used", 0)
	for _, n := range nodes {
		n.engine.Reset()
	}
	if at := turn("used", 1); at != first {
		t.Fatalf("the next turn went to node %d, it was staged on %d", at, first)
	}
	served := nodes[first].engine.Served()
	if cached := served[len(served)-1].CachedTokens; cached < 4000 {
		t.Fatalf("the next turn found %d tokens: this proves nothing", cached)
	}
	if n := metric(t, "caddy_kv_aware_staging_wasted_total") - wasted; n != 0 {
		t.Errorf("%v stagings count as wasted, and one was used", n)
	}
	first = turn("wasted", 0)
	if err := nodes[first].engine.Fault(enginesim.Fault{Kind: enginesim.Refuse}); err != nil {
		t.Fatal(err)
	}
	if at := turn("wasted", 1); at == first {
		t.Fatalf("served by node %d, which is down", at)
	}
	eventually(t, "the staging counts as wasted", func() bool { return metric(t, "caddy_kv_aware_staging_wasted_total")-wasted == 1 })
}

// TestLookupsDecide: conversations of which the gateway has forgotten everything
// go to where LMCache says their blocks are.
func TestLookupsDecide(t *testing.T) {
	coordinator, err := lmcachesim.StartCoordinator("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(coordinator.Close)
	nodes, _ := startNodes(t, 3, quietNode, lmcachesim.NodeConfig{})
	for i, n := range nodes {
		coordinator.Register(fmt.Sprint("mp-", i), n.cache)
	}
	g := startGateway(t, "caddyfile", stagingSite(nodes, "lmcache coordinator "+coordinator.URL()))
	const conversations = 6
	served := func() (counts [3]int) {
		for i, n := range nodes {
			counts[i] = len(n.engine.Served())
		}
		return counts
	}
	send := func(body string) (at int) {
		t.Helper()
		before := served()
		g.must(t, body)
		for i, n := range served() {
			if n > before[i] {
				return i
			}
		}
		t.Fatal("nobody has served it")
		return -1
	}
	var home [conversations]int
	looked := labelled(t, "caddy_kv_aware_staging_lookups_total", "completed")
	for i := range home {
		home[i] = send(ask("sim", story(fmt.Sprint("old", i)), false, 2))
	}
	eventually(t, "LMCache has said who holds them", func() bool {
		return labelled(t, "caddy_kv_aware_staging_lookups_total", "completed")-looked >= conversations
	})
	if home[0] == home[1] && home[1] == home[2] {
		t.Fatal("all went to one node: this proves nothing")
	}
	for _, n := range nodes {
		forget(t, n.engine.Addr())
	}
	for _, i := range []int{3, 0, 4, 1, 5, 2} {
		if at := send(goneOn(story(fmt.Sprint("old", i)))); at != home[i] {
			t.Errorf("conversation %d went to node %d, its blocks are on %d", i, at, home[i])
		}
	}
}

// goneOn is the next turn after a question.
func goneOn(question string) string {
	body, err := json.Marshal(map[string]any{"model": "sim", "max_tokens": 2, "messages": []map[string]string{
		{"role": "user", "content": question}, {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "And then?"},
	}})
	if err != nil {
		panic(err)
	}
	return string(body)
}

// forget makes the gateway forget an upstream, as its admin API does.
func forget(t *testing.T, address string) {
	t.Helper()
	if status, answer := askAdmin(t, http.MethodDelete, "/kv_aware/upstreams/"+url.PathEscape(address), ""); status != http.StatusOK {
		t.Fatalf("status %d: %s", status, answer)
	}
}
