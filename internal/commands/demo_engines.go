// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// fleets are the simulated engines behind each policy.
type demoEngines struct {
	byPolicy [][]*enginesim.Engine // by policy
}

// startFleets starts equal engines for each policy.
func startEngines(s scale) (*demoEngines, error) {
	f := new(demoEngines)
	for range demoPolicies {
		var fleet []*enginesim.Engine
		for range s.engines {
			e, err := enginesim.Start(enginesim.Config{
				PrefillRate:  s.prefillRate,
				CacheBlocks:  s.cacheTokens / 16,
				OutputTokens: s.answerTokens,
				Responder:    reply(s.answerTokens),
			})
			if err != nil {
				f.byPolicy = append(f.byPolicy, fleet)
				f.close()
				return nil, fmt.Errorf("starting a simulated engine: %w", err)
			}
			fleet = append(fleet, e)
		}
		f.byPolicy = append(f.byPolicy, fleet)
	}
	return f, nil
}

// reply answers the workload with words, and anything short with what the
// engine was sent: in round brackets, or the gateway would put the values back
// for the client that sent them.
func reply(tokens int) enginesim.Responder {
	words := enginesim.Words(tokens)
	brackets := strings.NewReplacer("[", "(", "]", ")")
	return func(r enginesim.Request) enginesim.Reply {
		if r.Stream || len(r.LastUser) > 1000 {
			return words(r)
		}
		return enginesim.Reply{Text: "I am a simulation. I was sent: " + brackets.Replace(r.LastUser) +
			" - and you get your own values back: " + r.LastUser}
	}
}

func (f *demoEngines) close() {
	for _, fleet := range f.byPolicy {
		for _, e := range fleet {
			e.Close()
		}
	}
}

// hitRate returns cached / prompt tokens of the engines behind a policy.
func (f *demoEngines) hitRate(policy int) float64 {
	var cached, prompt int64
	for _, e := range f.byPolicy[policy] {
		s := e.Stats()
		cached += s.CachedTokens
		prompt += s.PromptTokens
	}
	if prompt == 0 {
		return 0
	}
	return float64(cached) / float64(prompt)
}

// startGateway runs Caddy in this process and returns where each policy is to
// be found: the first at the root, the others under their names. Nothing
// touches the disk.
func startGateway(f *demoEngines) (urls []string, err error) {
	var routes []any
	for i, policy := range demoPolicies {
		if i > 0 {
			routes = append(routes, route(f.byPolicy[i], policy, "/"+policy))
		}
	}
	routes = append(routes, route(f.byPolicy[0], demoPolicies[0], ""))
	config, err := json.Marshal(map[string]any{
		"admin":   map[string]any{"disabled": true, "config": map[string]bool{"persist": false}},
		"logging": map[string]any{"logs": map[string]any{"default": map[string]string{"level": "ERROR"}}},
		"apps": map[string]any{
			"tls": map[string]bool{"disable_storage_check": true, "disable_storage_clean": true},
			"http": map[string]any{"servers": map[string]any{"demo": map[string]any{
				"listen":          []string{"127.0.0.1:0"},
				"automatic_https": map[string]bool{"disable": true},
				"routes":          routes,
			}}},
		},
	})
	if err != nil {
		return nil, err
	}
	if err := caddy.Load(config, true); err != nil {
		return nil, fmt.Errorf("starting the gateway: %w", err)
	}
	app, err := caddy.ActiveContext().App("http")
	if err != nil {
		return nil, err
	}
	root := "http://" + app.(*caddyhttp.App).Servers["demo"].Listeners()[0].Addr().String()
	urls = []string{root}
	for _, policy := range demoPolicies[1:] {
		urls = append(urls, root+"/"+policy)
	}
	return urls, nil
}

// route sends what is under a prefix to engines by a policy.
func route(engines []*enginesim.Engine, policy, prefix string) map[string]any {
	var upstreams []map[string]string
	for _, e := range engines {
		upstreams = append(upstreams, map[string]string{"dial": e.Addr()})
	}
	r := map[string]any{"terminal": true, "handle": []any{
		map[string]any{"handler": "rewrite", "strip_path_prefix": prefix},
		map[string]any{"handler": "pii_janitor"},
		map[string]any{
			"handler":        "reverse_proxy",
			"upstreams":      upstreams,
			"load_balancing": map[string]any{"selection_policy": map[string]string{"policy": policy}},
		},
	}}
	if prefix != "" {
		r["match"] = []any{map[string]any{"path": []string{prefix + "/*"}}}
	}
	return r
}
