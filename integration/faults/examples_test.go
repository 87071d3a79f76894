// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
	"github.com/bauxite/caddy-kvaware/internal/sim/lmcachesim"
)

const examplesFolder = harness.Root + "/caddyfile-examples/"

// examples lists the examples that are not in documented. Their rows are the
// faults that end requests in the middle or at the holder of a conversation. The
// rows of errors at once are in TestExamplesLoseNothing of integration/gateway, but
// for the dynamic example, which has several engines only here. minimal has no
// rows: it is the setup start.
var examples = []setup{
	{name: "beside-a-site", caddyfile: exampleFile("beside-a-site.Caddyfile"), ours: true, path: "/llm"},
	{name: "bauxite", caddyfile: exampleFile("bauxite.yaml"), ours: true, adapter: "bauxite"},
	{name: "cluster", caddyfile: exampleFile("cluster.Caddyfile"), ours: true},
	dynamic,
	{name: "events", caddyfile: exampleFile("events.Caddyfile"), ours: true, engines: startPublishing, replace: eventPorts},
	{name: "lmcache", caddyfile: exampleFile("lmcache.Caddyfile"), ours: true, engines: startWithLMCache, replace: cachePort},
	{name: "models", caddyfile: exampleFile("models.Caddyfile"), ours: true, model: "qwen-32b"},
	{name: "overload", caddyfile: exampleFile("overload.Caddyfile"), ours: true},
	{name: "volatile", caddyfile: exampleFile("volatile.Caddyfile"), ours: true, checksHealth: true},
}

func exampleFile(name string) func(t *testing.T) string {
	return func(t *testing.T) string {
		t.Helper()
		raw, err := os.ReadFile(examplesFolder + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
}

// Every example has its rows: a new one has to be added here.
func TestEveryExampleHasRows(t *testing.T) {
	has := make(map[string]bool)
	for _, list := range [][]setup{documented, examples} {
		for _, in := range list {
			has[in.name] = true
		}
	}
	adapted := func(in setup) []byte {
		routes, app := in.routes(t, strings.NewReplacer())
		raw, err := json.Marshal([]any{routes, app})
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	if minimal := (setup{name: "minimal", caddyfile: exampleFile("minimal.Caddyfile")}); !bytes.Equal(adapted(minimal), adapted(start)) {
		t.Error("the minimal example is no longer the README's shortest config: it needs rows of its own")
	}
	has["minimal"] = true
	for _, pattern := range []string{"*.Caddyfile", "*.yaml"} {
		files, err := filepath.Glob(examplesFolder + pattern)
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		for _, f := range files {
			if name := strings.TrimSuffix(filepath.Base(f), pattern[1:]); !has[name] {
				t.Errorf("the example %s has no rows", name)
			}
		}
	}
}

// startPublishing starts engines that publish their KV events, at the same ports of
// different hosts.
func startPublishing(t *testing.T, config enginesim.Config, n int) (nodes []*node) {
	t.Helper()
	for _, e := range harness.StartPublishingEngines(t, n, config) {
		nodes = append(nodes, &node{engine: e})
	}
	return nodes
}

// eventPorts replaces the ports of the events example.
func eventPorts(_ *testing.T, nodes []*node) []string {
	e := nodes[0].engine
	return []string{
		"upstream.host}:5557", "upstream.host}:" + harness.PortOf(e.EventsAddr(0)),
		"upstream.host}:5567", "upstream.host}:" + harness.PortOf(e.ReplayAddr(0)),
	}
}

// startWithLMCache starts engines with an LMCache beside each, at the same port of
// different hosts.
func startWithLMCache(t *testing.T, config enginesim.Config, n int) (nodes []*node) {
	t.Helper()
	hosts, port := harness.StartNodes(t, n, config, lmcachesim.NodeConfig{})
	for _, h := range hosts {
		nodes = append(nodes, &node{engine: h.Engine, cachePort: port})
	}
	return nodes
}

// cachePort replaces the port of the lmcache example.
func cachePort(_ *testing.T, nodes []*node) []string {
	return []string{"upstream.host}:8080", "upstream.host}:" + nodes[0].cachePort}
}

// briefRequests are sent to an example for each fault that fails requests at once.
const briefRequests = 80

// briefScenarios are the faults at once for the example that has one engine in
// integration/gateway.
func briefScenarios(t *testing.T) (all []scenario) {
	for _, fault := range []struct {
		name string
		enginesim.Fault
	}{
		{"refuses", enginesim.Fault{Kind: enginesim.Refuse}},
		{"answers 500", enginesim.Fault{Kind: enginesim.Status, Status: http.StatusInternalServerError}},
		{"answers 502", enginesim.Fault{Kind: enginesim.Status, Status: http.StatusBadGateway}},
		{"answers 503", enginesim.Fault{Kind: enginesim.Status, Status: http.StatusServiceUnavailable}},
		{"answers 429", enginesim.Fault{Kind: enginesim.Status, Status: http.StatusTooManyRequests}},
		{"resets behind the body", enginesim.Fault{Kind: enginesim.Reset}},
	} {
		s := newSite(t, fault.name, dynamic, dynamic.startNodes(t, engineConfig, 4))
		all = append(all, scenario{s, func(g *gateway, s *site) {
			if err := s.nodes[0].engine.Fault(fault.Fault); err != nil {
				s.errorf("%v", err)
				return
			}
			count := g.pace(s, 0, briefRequests, pause, s.request, nil)
			s.logf("%v; attempts by engine: %d", count, s.attempts())
			s.checkLost(count.lost, briefRequests)
			if n := s.attempts()[0]; n == 0 {
				s.errorf("the faulty engine was never tried")
			}
		}})
	}
	return all
}
