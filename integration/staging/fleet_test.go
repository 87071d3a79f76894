// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/lmcachesim"
)

// startCoordinator starts a coordinator of these nodes, mp-0, mp-1 and so on.
func startCoordinator(t *testing.T, nodes []harness.StagingNode) *lmcachesim.Coordinator {
	t.Helper()
	c, err := lmcachesim.StartCoordinator("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	for i, n := range nodes {
		c.Register(fmt.Sprint("mp-", i), n.Cache)
	}
	return c
}

// servedBy sends a request and returns the index of the node that served it.
func servedBy(t *testing.T, g *harness.Gateway, nodes []harness.StagingNode, body string, header ...string) int {
	t.Helper()
	before := make([]int, len(nodes))
	for i, n := range nodes {
		before[i] = len(n.Engine.Served())
	}
	if answer := g.Post(t, harness.ChatPath, body, header...); answer.Status != http.StatusOK {
		t.Fatalf("status %d: %.300s", answer.Status, answer.Body)
	}
	for i, n := range nodes {
		if len(n.Engine.Served()) > before[i] {
			return i
		}
	}
	t.Fatal("no node has served the request")
	return -1
}

// With twoNodes the gateway assumes that a GPU holds the last three conversations
// sent to it. Of twoNodesFull conversations, some are no longer on two GPUs.
const (
	twoNodes     = "metrics off\ncapacity 16000\n"
	twoNodesFull = 12
)

// gone returns the conversations that are no longer on a GPU, from the node of each
// in the order in which they were sent.
func gone(t *testing.T, home []int, atLeast int) (list []int) {
	t.Helper()
	for i := range home {
		later := 0
		for _, other := range home[i+1:] {
			if other == home[i] {
				later++
			}
		}
		if later > 3 {
			list = append(list, i)
		}
	}
	if len(list) < atLeast {
		t.Fatalf("of conversations that went to %v only %v are gone: this proves nothing", home, list)
	}
	return list
}

// emptied moves all blocks to disk.
func emptied(nodes []harness.StagingNode) {
	for _, n := range nodes {
		n.Cache.EvictMemory()
		n.Engine.Reset()
	}
}

// longWait bounds the hold of a request in tests whose stagings end in that time.
// The gateway expects computing a story to take longer.
const longWait = 400 * time.Millisecond

// notFromDisk calls do, which sends requests that are held for up to longWait, and
// checks that no engine waits for the disk. It makes no check and returns false if
// the staging was not done in time, on a busy machine.
func notFromDisk(t *testing.T, nodes []harness.StagingNode, do func()) (inTime bool) {
	t.Helper()
	chunks := func() (n int) {
		for _, node := range nodes {
			n += node.Cache.Stats().FromDisk
		}
		return n
	}
	held, before := harness.Metric(t, "caddy_kv_aware_staging_wait_seconds_total"), chunks()
	staged := harness.Metric(t, "caddy_kv_aware_staged_tokens_total")
	do()
	held = harness.Metric(t, "caddy_kv_aware_staging_wait_seconds_total") - held
	if held >= longWait.Seconds() {
		t.Logf("held for %v s: the staging was not done in time", held)
		return false
	}
	if n := chunks() - before; n != 0 {
		if harness.Metric(t, "caddy_kv_aware_staged_tokens_total") == staged {
			t.Log("LMCache did not answer within the gateway's timeouts")
			return false
		}
		t.Errorf("an engine waited for %d chunks from disk", n)
	}
	return true
}

// staged is a staging request as LMCache received it.
type staged struct {
	Node   string   `json:"instance_id"`
	Model  string   `json:"model_name"`
	World  int      `json:"world_size"`
	Tokens []uint32 `json:"token_ids"`
	Salt   string   `json:"cache_salt"`
}

// stagedBy returns the staging requests among the requests to an LMCache server.
func stagedBy(t *testing.T, received []lmcachesim.Received) (orders []staged) {
	t.Helper()
	for _, r := range received {
		if r.Method != http.MethodPost || r.Path != "/cache/prefetches" {
			continue
		}
		var o staged
		if err := json.Unmarshal(r.Body, &o); err != nil {
			t.Fatal(err)
		}
		orders = append(orders, o)
	}
	return orders
}

// TestStagingThroughACoordinator: the coordinator stages a conversation on the node
// that has its blocks on disk. The order has the node's ID, the ranks of its engine
// and the tenant's salt. The engine then does not wait for the disk.
func TestStagingThroughACoordinator(t *testing.T) {
	harness.Attempt(t, func(round int) string { return throughCoordinator(t, round) })
}

// throughCoordinator returns why no engine was spared the disk.
func throughCoordinator(t *testing.T, round int) (problem string) {
	t.Helper()
	story := func(i int) string { return harness.Story(fmt.Sprint("coordinated", round, "-", i)) }
	nodes, _ := harness.StartNodes(t, 2, harness.QuietNode, lmcachesim.NodeConfig{WorldSize: 2})
	coordinator := startCoordinator(t, nodes)
	g := harness.StartGateway(t, "caddyfile", harness.StagingSite(nodes,
		twoNodes+"tenant {http.request.header.X-User}\ncache_salt on\nlmcache coordinator "+coordinator.URL()+" {\n wait "+longWait.String()+"\n }"))
	var home [twoNodesFull]int
	as := func(i int) []string { return []string{"X-User", fmt.Sprint("user", i%2)} }
	for i := range home {
		home[i] = servedBy(t, g, nodes, harness.Ask("sim", story(i), false, 2), as(i)...)
	}
	emptied(nodes)
	again := gone(t, home[:], 2)
	inTime := 0
	for _, i := range again {
		before := len(coordinator.Received())
		completed := harness.ResultMetric(t, "caddy_kv_aware_staging_total", "completed") + harness.ResultMetric(t, "caddy_kv_aware_staging_total", "partial")
		var at int
		if notFromDisk(t, nodes, func() {
			at = servedBy(t, g, nodes, harness.NextTurn(story(i)), as(i)...)
		}) {
			inTime++
		}
		if at != home[i] {
			t.Errorf("conversation %d went to node %d, its blocks are on %d's disk", i, at, home[i])
		}
		if !harness.Soon(func() bool {
			return harness.ResultMetric(t, "caddy_kv_aware_staging_total", "completed")+harness.ResultMetric(t, "caddy_kv_aware_staging_total", "partial") > completed
		}) {
			t.Log("the machine was too busy for a staging")
			continue
		}
		received := coordinator.Received()[before:]
		orders := stagedBy(t, received)
		if len(orders) != 1 {
			t.Fatalf("conversation %d: %d orders", i, len(orders))
		}
		got := nodes[at].Engine.Received()
		var sent struct {
			Salt string `json:"cache_salt"`
		}
		for _, r := range got {
			if strings.HasSuffix(r.Path, "/chat/completions") {
				if err := json.Unmarshal(r.Body, &sent); err != nil {
					t.Fatal(err)
				}
			}
		}
		if o := orders[0]; o.Node != fmt.Sprint("mp-", at) || o.Model != "/models/sim" || o.World != 2 || sent.Salt == "" || o.Salt != sent.Salt || len(o.Tokens) < 4000 {
			t.Errorf("conversation %d on node %d, with the salt %q: %s of %s over %d ranks, %d tokens, with the salt %q", i, at, sent.Salt, o.Node, o.Model, o.World, len(o.Tokens), o.Salt)
		}
		polled := slices.ContainsFunc(received, func(r lmcachesim.Received) bool {
			return r.Method == http.MethodGet && strings.HasPrefix(r.Path, fmt.Sprintf("/cache/prefetches/mp-%d/", at))
		})
		if !polled {
			t.Error("the coordinator was not asked whether the staging is done")
		}
	}
	if inTime == 0 {
		return "no staging was done in time"
	}
	return ""
}

// TestStagingThroughNobody: whatever a coordinator does, every request is answered,
// and routed by the gateway's own history. Requests are held for a staging that
// hangs, and sent on while it still hangs.
func TestStagingThroughNobody(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	faults := map[string]lmcachesim.Fault{
		"hang":    {Kind: lmcachesim.Hang},
		"slow":    {Kind: lmcachesim.Delay, Delay: time.Minute},
		"garbage": {Kind: lmcachesim.Garbage},
		"huge":    {Kind: lmcachesim.Huge},
		"404":     {Kind: lmcachesim.Status, Status: 404},
		"502":     {Kind: lmcachesim.Status, Status: 502},
		"absent":  {},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			nodes, _ := harness.StartNodes(t, 2, harness.QuietNode, lmcachesim.NodeConfig{})
			server := startCoordinator(t, nodes)
			g := harness.StartGateway(t, "caddyfile", harness.StagingSite(nodes, twoNodes+"lmcache coordinator "+server.URL()+" {\n wait 150ms\n }"))
			text := func(i int) string { return harness.Story(fmt.Sprint(name, i)) }
			var home [twoNodesFull]int
			for i := range home {
				home[i] = servedBy(t, g, nodes, harness.Ask("sim", text(i), false, 2))
			}
			emptied(nodes)
			if fault.Kind == 0 {
				server.Close()
			} else {
				server.Fault(fault)
			}
			waits := harness.Metric(t, "caddy_kv_aware_staging_waits_total")
			for _, i := range gone(t, home[:], 2) {
				if at := servedBy(t, g, nodes, harness.NextTurn(text(i))); at != home[i] {
					t.Errorf("conversation %d went to node %d, it was on %d", i, at, home[i])
				}
			}
			if harness.Metric(t, "caddy_kv_aware_staging_waits_total") == waits {
				t.Error("no request was held")
			}
		})
	}
}

// TestLookupsTellTiers: when all nodes hold a conversation's blocks and the gateway
// has forgotten them, the next turn goes to the node that has them in CPU memory, as
// the coordinator reports, and not to the fallback's pick. The admin API explains it
// so.
func TestLookupsTellTiers(t *testing.T) {
	nodes, _ := harness.StartNodes(t, 3, harness.QuietNode, lmcachesim.NodeConfig{})
	coordinator := startCoordinator(t, nodes)
	coordinator.ReportEvery(time.Second)
	g := harness.StartGateway(t, "caddyfile", harness.StagingSite(nodes, "fallback round_robin\nlmcache coordinator "+coordinator.URL()))
	for round := range 4 {
		question := harness.Story(fmt.Sprint("tiers", round))
		looked := harness.ResultMetric(t, "caddy_kv_aware_staging_lookups_total", "completed")
		for _, n := range nodes {
			harness.Answered(t, http.DefaultClient, n.Engine.URL(), harness.Ask("sim", question, false, 2))
		}
		first := servedBy(t, g, nodes, harness.Ask("sim", question, false, 2))
		want := (first + round) % len(nodes)
		for i, n := range nodes {
			if i != want {
				n.Cache.EvictMemory()
			}
		}
		harness.Await(t, "LMCache has reported the holders", func() bool {
			return harness.ResultMetric(t, "caddy_kv_aware_staging_lookups_total", "completed") > looked
		})
		for _, n := range nodes {
			forget(t, n.Engine.Addr())
		}
		var explained struct{ Upstream string }
		if _, answer := harness.Admin(t, "POST", "/kv_aware/explain", harness.NextTurn(question)); json.Unmarshal([]byte(answer), &explained) != nil || explained.Upstream != nodes[want].Engine.Addr() {
			t.Errorf("round %d: explained by %s, node %d is %s", round, answer, want, nodes[want].Engine.Addr())
		}
		if at := servedBy(t, g, nodes, harness.NextTurn(question)); at != want {
			t.Errorf("round %d: went to node %d; its blocks are in memory on %d, and on all disks; before it was on %d", round, at, want, first)
		}
	}
}
