// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/bauxite/caddy-kvaware/integration/harness"
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
}

// The configs of the table. The documents have them exactly so.
var (
	start   = setup{"start", func(t *testing.T) string { return harness.ReadmeCaddyfile(t, "Start") }, true, false}
	options = setup{"options", func(t *testing.T) string { return harness.ReadmeCaddyfile(t, "Options") }, true, true}

	production = setup{"production", func(t *testing.T) string { return example(t, "production") }, true, true}
	dynamic    = setup{"dynamic", func(t *testing.T) string { return example(t, "dynamic") }, true, false}

	leastConn = setup{"least_conn", func(*testing.T) string {
		return ":8080 {\n\treverse_proxy node-a:8000 node-b:8000 {\n\t\tlb_policy least_conn\n\t}\n}\n"
	}, false, false}

	// startFailDuration is the shortest config with Caddy's passive health checks.
	startFailDuration = setup{"start, fail_duration", func(t *testing.T) string {
		return strings.Replace(start.caddyfile(t), "lb_policy", "fail_duration 10s\n\t\tlb_policy", 1)
	}, true, false}
)

// documented lists the configs that promise to survive faults, and stock Caddy.
var documented = []setup{start, options, production, leastConn}

func example(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(harness.Root + "/caddyfile-examples/" + name + ".Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// exampleUpstreams are the upstreams in the documents, in both spellings.
var exampleUpstreams = []string{"http://node-a:8000 http://node-b:8000", "node-a:8000 node-b:8000"}

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
	replaced = strings.Replace(replaced, "health_timeout 3s", "health_timeout 30s", 1)
	if replaced == text {
		t.Fatalf("the config %q does not have the upstreams to replace:\n%s", s.name, text)
	}
	raw, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(replaced), map[string]any{"filename": s.name})
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
		delete(r, "match") // the site's own host
	}
	return routes, c.Apps.KVAware
}
