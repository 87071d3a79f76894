// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"fmt"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/lmcachesim"
)

// TestStagingUnderAnAlias: the blocks that engines have lost and LMCache still has on
// disk are staged for a turn under another name of the model, where they are.
func TestStagingUnderAnAlias(t *testing.T) {
	config := harness.QuietNode
	config.Aliases = []string{"alias"}
	nodes, cachePort := harness.StartNodes(t, 2, config, lmcachesim.NodeConfig{})
	g := harness.StartGateway(t, "caddyfile", harness.StagingSite(nodes, harness.LMCacheOption+cachePort+" {\n wait "+longWait.String()+"\n }"))
	g.Must(t, harness.Ask("sim", "hello", false, 1))
	for _, n := range nodes {
		harness.AwaitMetricsRead(t, n.Engine)
		n.Cache.Register("/models/another") // of another engine on the host
	}
	var home [4]int
	for i := range home {
		home[i] = servedBy(t, g, nodes, harness.Ask("sim", harness.Story(fmt.Sprint("alias", i)), false, 2))
	}
	restartAll(t, nodes)
	for i := range home {
		question := strings.Replace(harness.NextTurn(harness.Story(fmt.Sprint("alias", i))), `"sim"`, `"alias"`, 1)
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
		got := stagedBy(t, nodes[home[i]].Cache.Received())
		if o := got[len(got)-1]; o.Model != "/models/sim" {
			t.Errorf("the staging was for %s", o.Model)
		}
	}
}
