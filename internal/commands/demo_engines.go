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

// demoEngines holds the simulated engines of each policy.
type demoEngines struct {
	byPolicy [][]*enginesim.Engine // in the order of demoPolicies
}

// startEngines starts equal engines for each policy.
func startEngines(s scale) (*demoEngines, error) {
	d := new(demoEngines)
	for range demoPolicies {
		var engines []*enginesim.Engine
		for range s.engines {
			e, err := enginesim.Start(enginesim.Config{
				PrefillRate:  s.prefillRate,
				CacheBlocks:  s.cacheTokens / 16,
				OutputTokens: s.answerTokens,
				Responder:    reply(s.answerTokens),
			})
			if err != nil {
				d.byPolicy = append(d.byPolicy, engines)
				d.close()
				return nil, fmt.Errorf("starting a simulated engine: %w", err)
			}
			engines = append(engines, e)
		}
		d.byPolicy = append(d.byPolicy, engines)
	}
	return d, nil
}

// reply answers the workload with words, and other short prompts with the text
// that the engine received. There it writes placeholders in round brackets,
// because the gateway would restore the others.
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

func (d *demoEngines) close() {
	for _, engines := range d.byPolicy {
		for _, e := range engines {
			e.Close()
		}
	}
}

// hitRate returns cached / prompt tokens of the engines behind a policy.
func (d *demoEngines) hitRate(policy int) float64 {
	var cached, prompt int64
	for _, e := range d.byPolicy[policy] {
		s := e.Stats()
		cached += s.CachedTokens
		prompt += s.PromptTokens
	}
	if prompt == 0 {
		return 0
	}
	return float64(cached) / float64(prompt)
}

// startGateway runs Caddy in this process and returns the URL of each policy: the
// root for the first, a path with its name for the others. It writes nothing to
// disk.
func startGateway(d *demoEngines) (urls []string, err error) {
	var routes []any
	for i, policy := range demoPolicies {
		if i > 0 {
			routes = append(routes, route(d.byPolicy[i], policy, "/"+policy))
		}
	}
	routes = append(routes, route(d.byPolicy[0], demoPolicies[0], ""))
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

// route returns a route from a path prefix to engines, by a policy.
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
