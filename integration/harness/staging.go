// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"testing"

	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
	"github.com/bauxite/caddy-kvaware/internal/sim/lmcachesim"
)

// StagingNode is a host: an engine and the LMCache beside it, at one IP address.
type StagingNode struct {
	Engine *enginesim.Engine
	Cache  *lmcachesim.Node
}

// QuietNode configures an engine that computes a Story in 50 ms of real time.
var QuietNode = enginesim.Config{Models: []string{"sim"}, CacheBlocks: 1200, OutputTokens: 2, Speed: 10, Record: 100}

// StartNodes starts n hosts whose LMCache listens at the same port.
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

// StartPublishingNodes starts n hosts whose engines publish the events of their
// own caches and of LMCache, at the same ports on each host.
func StartPublishingNodes(t testing.TB, n int, engine enginesim.Config) (nodes []StagingNode, cachePort string) {
	t.Helper()
	cachePort = "0"
	events := enginesim.EventsConfig{Replay: true, External: true}
	for range n {
		config, own := engine, events
		config.Events = &own
		node := StartNode(t, config, lmcachesim.NodeConfig{}, cachePort)
		cachePort = PortOf(node.Cache.Addr())
		events.Port, _ = strconv.Atoi(PortOf(node.Engine.EventsAddr(0)))
		events.ReplayPort, _ = strconv.Atoi(PortOf(node.Engine.ReplayAddr(0)))
		nodes = append(nodes, node)
	}
	return nodes, cachePort
}

// StartNode starts a host at an address where the ports it wants are free.
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

// EnginesOf returns the engines of nodes.
func EnginesOf(nodes []StagingNode) (engines []*enginesim.Engine) {
	for _, n := range nodes {
		engines = append(engines, n.Engine)
	}
	return engines
}
