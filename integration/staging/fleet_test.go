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

// servedBy sends a request and returns which node has served it.
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
	t.Fatal("nobody has served it")
	return -1
}

// twoNodes is a policy that takes it that a GPU holds the last three
// conversations that went there, and that does not look. Of twoNodesFull ones some
// are gone from two nodes.
const (
	twoNodes     = "metrics off\ncapacity 16000\n"
	twoNodesFull = 12
)

// gone returns which conversations are not on the GPU any more, by where they went
// one after the other.
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

// emptied takes everything to disk.
func emptied(nodes []harness.StagingNode) {
	for _, n := range nodes {
		n.Cache.EvictMemory()
		n.Engine.Reset()
	}
}

// longWait is for how long a request may be held where the staging is to end
// meanwhile: computing a story is taken to cost more than that.
const longWait = 400 * time.Millisecond

// notFromDisk has do send requests that are held for up to longWait, and checks
// that no engine waits for the disk, unless the machine was so busy that LMCache
// was not done in time. It reports whether it was.
func notFromDisk(t *testing.T, nodes []harness.StagingNode, do func()) (inTime bool) {
	t.Helper()
	chunks := func() (n int) {
		for _, node := range nodes {
			n += node.Cache.Stats().FromDisk
		}
		return n
	}
	held, before := harness.Metric(t, "caddy_kv_aware_staging_wait_seconds_total"), chunks()
	do()
	held = harness.Metric(t, "caddy_kv_aware_staging_wait_seconds_total") - held
	if held >= longWait.Seconds() {
		t.Logf("held for %v s: the staging was not done in time", held)
		return false
	}
	if n := chunks() - before; n != 0 {
		t.Errorf("an engine waited for %d chunks from disk", n)
	}
	return true
}

// staged is an order as LMCache got it.
type staged struct {
	Node   string   `json:"instance_id"`
	Model  string   `json:"model_name"`
	World  int      `json:"world_size"`
	Tokens []uint32 `json:"token_ids"`
	Salt   string   `json:"cache_salt"`
}

// stagedBy returns the orders among what a server of LMCache's got.
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

// TestStagingThroughACoordinator: a conversation whose blocks are on its node's
// disk is staged there by way of the coordinator, by the name that the node has
// there, over as many ranks as its engine has, for the tenant's salt; the engine
// then waits for nothing from the disk.
func TestStagingThroughACoordinator(t *testing.T) {
	nodes, _ := harness.StartNodes(t, 2, harness.QuietNode, lmcachesim.NodeConfig{WorldSize: 2})
	coordinator := startCoordinator(t, nodes)
	g := harness.StartGateway(t, "caddyfile", harness.StagingSite(nodes,
		twoNodes+"tenant {http.request.header.X-User}\ncache_salt on\nlmcache coordinator "+coordinator.URL()+" {\n wait "+longWait.String()+"\n }"))
	var home [twoNodesFull]int
	as := func(i int) []string { return []string{"X-User", fmt.Sprint("user", i%2)} }
	for i := range home {
		home[i] = servedBy(t, g, nodes, harness.Ask("sim", harness.Story(fmt.Sprint("coordinated", i)), false, 2), as(i)...)
	}
	emptied(nodes)
	again := gone(t, home[:], 2)
	waits, inTime := harness.Metric(t, "caddy_kv_aware_staging_waits_total"), 0
	for _, i := range again {
		before := len(coordinator.Received())
		completed := harness.ResultMetric(t, "caddy_kv_aware_staging_total", "completed") + harness.ResultMetric(t, "caddy_kv_aware_staging_total", "partial")
		var at int
		if notFromDisk(t, nodes, func() {
			at = servedBy(t, g, nodes, harness.NextTurn(harness.Story(fmt.Sprint("coordinated", i))), as(i)...)
		}) {
			inTime++
		}
		if at != home[i] {
			t.Errorf("conversation %d went to node %d, its blocks are on %d's disk", i, at, home[i])
		}
		harness.Await(t, "the staging is done", func() bool {
			return harness.ResultMetric(t, "caddy_kv_aware_staging_total", "completed")+harness.ResultMetric(t, "caddy_kv_aware_staging_total", "partial") > completed
		})
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
		if o := orders[0]; o.Node != fmt.Sprint("mp-", at) || o.Model != "sim" || o.World != 2 || sent.Salt == "" || o.Salt != sent.Salt || len(o.Tokens) < 4000 {
			t.Errorf("conversation %d on node %d, with the salt %q: %s of %s over %d ranks, %d tokens, with the salt %q", i, at, sent.Salt, o.Node, o.Model, o.World, len(o.Tokens), o.Salt)
		}
		polled := slices.ContainsFunc(received, func(r lmcachesim.Received) bool {
			return r.Method == http.MethodGet && strings.HasPrefix(r.Path, fmt.Sprintf("/cache/prefetches/mp-%d/", at))
		})
		if !polled {
			t.Error("it was not asked whether it is done")
		}
	}
	if n := harness.Metric(t, "caddy_kv_aware_staging_waits_total") - waits; n != float64(len(again)) {
		t.Errorf("%v of %d requests were held", n, len(again))
	}
	if inTime == 0 {
		t.Error("no staging was done in time")
	}
}

// TestStagingThroughNobody: whatever a coordinator does, no request fails or is held
// for longer than it may be, and what is known is the gateway's own.
func TestStagingThroughNobody(t *testing.T) {
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

// TestLookupsTellTiers: of nodes that all hold a conversation's blocks, of
// which the gateway has forgotten everything, the next turn goes to the one that
// has them in CPU memory, by what the coordinator says, and not to
// whom the fallback picks for what nobody has; and the admin API explains it so.
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
		harness.Await(t, "LMCache has said who holds it", func() bool {
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
