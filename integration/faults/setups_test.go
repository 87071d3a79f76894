// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"cmp"
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// setup is one way to configure a gateway.
type setup struct {
	name string
	// caddyfile has one site, whose proxy has the upstreams exampleUpstreams.
	caddyfile func(t *testing.T) string
	ours      bool // it uses this plugin
	// checksHealth: it has active health checks. It gets half the traffic, to spare
	// the machine.
	checksHealth bool
	adapter      string // of the config; "": caddyfile
	path         string // ahead of the API's path
	model        string // "": sim

	// engines starts the engines that the config needs. nil: plain ones will do.
	engines func(t *testing.T, config enginesim.Config, n int) []*node
	// samePort: the upstreams have one port in common.
	samePort bool
	// replace returns what the config needs replaced besides its upstreams: old, new,
	// old, new. nil: nothing.
	replace func(t *testing.T, nodes []*node) []string
}

// The configs of the table. The documents have them exactly so.
var (
	start   = setup{name: "start", caddyfile: readmeConfig("Start"), ours: true}
	options = setup{name: "options", caddyfile: readmeConfig("Options"), ours: true, checksHealth: true}

	production = setup{name: "production", caddyfile: exampleFile("production.Caddyfile"), ours: true, checksHealth: true}
	dynamic    = setup{name: "dynamic", caddyfile: exampleFile("dynamic.Caddyfile"), ours: true,
		engines: startSamePort, samePort: true, replace: fixedNames}

	leastConn = setup{name: "least_conn", caddyfile: func(*testing.T) string {
		return ":8080 {\n\treverse_proxy node-a:8000 node-b:8000 {\n\t\tlb_policy least_conn\n\t}\n}\n"
	}}

	// startFailDuration is the shortest config with Caddy's passive health checks.
	startFailDuration = setup{name: "start, fail_duration", caddyfile: func(t *testing.T) string {
		return strings.Replace(start.caddyfile(t), "lb_policy", "fail_duration 10s\n\t\tlb_policy", 1)
	}, ours: true}
)

// documented lists the configs that promise to survive faults, and stock Caddy.
var documented = []setup{start, options, production, leastConn}

func readmeConfig(heading string) func(t *testing.T) string {
	return func(t *testing.T) string { return harness.ReadmeCaddyfile(t, heading) }
}

// startNodes starts engines for the config. None is behind a fault proxy.
func (s setup) startNodes(t *testing.T, config enginesim.Config, n int) []*node {
	t.Helper()
	if s.model != "" {
		config.Models = []string{s.model}
	}
	if s.engines != nil {
		return s.engines(t, config, n)
	}
	return startNodes(t, config, 0, n)
}

// exampleUpstreams are the upstreams in the documents, in all spellings.
var exampleUpstreams = []string{
	"http://node-a:8000 http://node-b:8000", "node-a:8000 node-b:8000", "node-c:8000 node-d:8000",
	yamlUpstreams,
}

const yamlUpstreams = `"http://node-a:8000", "http://node-b:8000"`

// caddyConfig is a config in JSON, as far as sites are put together from it.
type caddyConfig struct {
	Apps struct {
		HTTP struct {
			Servers map[string]struct {
				Routes []map[string]any `json:"routes"`
			} `json:"servers"`
		} `json:"http"`
		KVAware json.RawMessage `json:"kv_aware"`
	} `json:"apps"`
}

// routes returns the site's routes and the options of its kv_aware app, none
// where it has none.
func (s setup) routes(t *testing.T, replace *strings.Replacer) (routes []map[string]any, app json.RawMessage) {
	t.Helper()
	text := s.caddyfile(t)
	replaced := replace.Replace(text)
	// On a busy machine, a healthy engine can be late.
	replaced = strings.Replace(replaced, "\t\thealth_timeout 3s\n", "", 1)
	replaced = strings.Replace(replaced, "health_interval 5s\n", "health_interval 5s\n\t\thealth_timeout 30s\n", 1)
	// The lock would hold for all later tests.
	replaced = strings.Replace(replaced, "volatile_only require", "volatile_only off", 1)
	raw, _, err := caddyconfig.GetAdapter(cmp.Or(s.adapter, "caddyfile")).Adapt([]byte(replaced), map[string]any{"filename": s.name})
	if err != nil {
		t.Fatalf("adapting %q: %v", s.name, err)
	}
	var c caddyConfig
	if err := json.Unmarshal(raw, &c); err != nil {
		t.Fatal(err)
	}
	for _, server := range c.Apps.HTTP.Servers {
		routes = append(routes, server.Routes...)
	}
	for _, r := range routes {
		sets, _ := r["match"].([]any)
		for _, set := range sets {
			delete(set.(map[string]any), "host") // the site's own
		}
	}
	return routes, c.Apps.KVAware
}
