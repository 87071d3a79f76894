// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
)

// crowd fills an engine's GPU with prompts that the gateway does not see.
func crowd(t *testing.T, n harness.StagingNode) {
	t.Helper()
	for range 5 { // of 4,600 tokens each, on a GPU that holds 19,200
		harness.Answered(t, http.DefaultClient, n.Engine.URL(), harness.Ask("sim", harness.Story(fmt.Sprint("stranger ", rand.Uint64())), false, 2))
	}
}

// TestStagingByEvents: the events of engines and of LMCache decide whether a
// conversation is staged: not when its blocks are on the GPU or in CPU memory, but
// when they are on the disk of its node, for the request's model and salt.
func TestStagingByEvents(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	nodes, cachePort := harness.StartPublishingNodes(t, 2, harness.QuietNode)
	g := harness.StartGateway(t, "caddyfile", harness.StagingSite(nodes,
		harness.EventsOption(nodes[0].Engine, 1)+"\n"+harness.LMCacheOption+cachePort+" {\n wait "+longWait.String()+"\n }"))
	// The first prompts show the sizes of blocks and chunks.
	for i := range 4 {
		servedBy(t, g, nodes, harness.Ask("sim", harness.Story(fmt.Sprint("first ", i)), false, 2))
	}
	harness.AwaitQuiet(t, harness.EnginesOf(nodes))
	for name, salt := range map[string]string{"without a salt": "", "with a salt": "mine"} {
		t.Run(name, func(t *testing.T) {
			question := harness.Story("told " + name)
			turn := func(body string) string {
				if salt == "" {
					return body
				}
				return strings.Replace(body, "{", fmt.Sprintf(`{"cache_salt":%q,`, salt), 1)
			}
			home := servedBy(t, g, nodes, turn(harness.Ask("sim", question, false, 2)))
			node, address := nodes[home], nodes[home].Engine.Addr()
			cached := func() int { return harness.Forecast(t, turn(harness.NextTurn(question)))[address] }
			harness.Await(t, "the events show the conversation on the GPU", func() bool { return cached() > 4000 })
			harness.AwaitQuiet(t, harness.EnginesOf(nodes))
			again := func(want int) {
				t.Helper()
				before := orders(node.Cache)
				if at := servedBy(t, g, nodes, turn(harness.NextTurn(question))); at != home {
					t.Errorf("the turn went to node %d, its blocks are on %d", at, home)
				}
				harness.Await(t, "the conversation is staged", func() bool { return orders(node.Cache)-before >= want })
				if n := orders(node.Cache) - before; n != want {
					t.Errorf("%d stagings, want %d", n, want)
				}
			}
			again(0) // from the GPU
			crowd(t, node)
			harness.AwaitQuiet(t, harness.EnginesOf(nodes))
			if salt == "" { // LMCache publishes no events of prompts with a salt
				if n := cached(); n < 4000 {
					t.Fatalf("the blocks are in CPU memory, and %d tokens are predicted", n)
				}
				again(0)
				harness.SendDirect(t, node.Engine, "/reset_prefix_cache", "") // clears the GPU
				harness.AwaitQuiet(t, harness.EnginesOf(nodes))
				if n := cached(); n < 4000 {
					t.Errorf("the blocks are still in CPU memory, and %d tokens are predicted", n)
				}
				again(0)
				crowd(t, node)
			}
			node.Cache.EvictMemory()
			harness.AwaitQuiet(t, harness.EnginesOf(nodes))
			tokens := harness.Metric(t, "caddy_kv_aware_staged_tokens_total")
			notFromDisk(t, nodes, func() { again(1) })
			harness.Await(t, "the conversation is staged", func() bool { return harness.Metric(t, "caddy_kv_aware_staged_tokens_total") > tokens })
			got := stagedBy(t, node.Cache.Received())
			o := got[len(got)-1]
			if o.Model != "/models/sim" || o.Salt != salt || o.World != 1 {
				t.Errorf("the staging was for %s with the salt %q over %d ranks", o.Model, o.Salt, o.World)
			}
			var report struct {
				Staging struct {
					Done, Tokens uint64
					Result       string
				}
			}
			_, answer := harness.Admin(t, "GET", "/kv_aware/upstreams/"+address, "")
			if err := json.Unmarshal([]byte(answer), &report); err != nil {
				t.Fatalf("%v: %s", err, answer)
			}
			if s := report.Staging; s.Done == 0 || s.Tokens < 4000 || s.Result != "completed" && s.Result != "partial" {
				t.Errorf("the admin API reports %+v", s)
			}
			if n := harness.Metric(t, "caddy_kv_aware_staged_tokens_total") - tokens; n > float64(len(o.Tokens)) || n < 0.9*float64(len(o.Tokens)) {
				t.Errorf("%v of %d tokens were staged", n, len(o.Tokens))
			}
		})
	}
}

// TestTiersByEventsDecide: when two nodes have lost a conversation from their GPUs,
// the next turn goes to the node that has it in CPU memory, even if the gateway has
// sent all turns to the other, which has it on disk.
func TestTiersByEventsDecide(t *testing.T) {
	nodes, cachePort := harness.StartPublishingNodes(t, 2, harness.QuietNode)
	g := harness.StartGateway(t, "caddyfile", harness.StagingSite(nodes, harness.EventsOption(nodes[0].Engine, 1)+"\n"+harness.LMCacheOption+cachePort))
	for i := range 4 {
		servedBy(t, g, nodes, harness.Ask("sim", harness.Story(fmt.Sprint("begun ", i)), false, 2))
	}
	harness.AwaitQuiet(t, harness.EnginesOf(nodes))
	for round := range 2 {
		question := harness.Story(fmt.Sprint("tiers", round))
		first := servedBy(t, g, nodes, harness.Ask("sim", question, false, 2))
		harness.Answered(t, http.DefaultClient, nodes[1-first].Engine.URL(), harness.Ask("sim", question, false, 2))
		for _, n := range nodes {
			crowd(t, n)
		}
		want := []int{first, 1 - first}[round]
		nodes[1-want].Cache.EvictMemory()
		harness.AwaitQuiet(t, harness.EnginesOf(nodes))
		if at := servedBy(t, g, nodes, harness.NextTurn(question)); at != want {
			t.Errorf("round %d: the turn went to node %d; the first went to %d, and its blocks are in memory on %d", round, at, first, want)
		}
	}
}
