// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/bauxite/caddy-kvaware/integration/harness"
)

// site is one scenario: a config in front of engines of its own.
type site struct {
	host  string
	setup setup
	nodes []*node
	// replace replaces what the documents have instead of this site's upstreams.
	replace *strings.Replacer
	report
}

// newSite returns a site for these engines.
func newSite(t *testing.T, name string, in setup, nodes []*node) *site {
	t.Helper()
	addresses := make([]string, len(nodes))
	for i, n := range nodes {
		addresses[i] = n.address()
	}
	var replace []string
	for _, upstreams := range exampleUpstreams {
		list := strings.Join(addresses, " ")
		if upstreams == yamlUpstreams {
			list = `"http://` + strings.Join(addresses, `", "http://`) + `"`
		}
		replace = append(replace, upstreams, list)
	}
	if in.replace != nil {
		replace = append(replace, in.replace(t, nodes)...)
	}
	return &site{host: hostOf(name, in.name), setup: in, nodes: nodes, replace: strings.NewReplacer(replace...)}
}

// hostOf returns the name of a site in the config.
func hostOf(names ...string) string {
	return strings.NewReplacer(" ", "-", ",", "", "_", "-").Replace(strings.Join(names, ".")) + ".test"
}

// report holds what a scenario has seen, until its test shows it.
type report struct {
	mu       sync.Mutex
	figures  []string
	problems []string
}

func (r *report) logf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.figures = append(r.figures, fmt.Sprintf(format, args...))
}

func (r *report) errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

// show reports to the scenario's test.
func (r *report) show(t *testing.T) {
	t.Helper()
	for _, figure := range r.figures {
		t.Log(figure)
	}
	for _, problem := range r.problems {
		t.Error(problem)
	}
}

// gateway is one Caddy with a site for each scenario.
type gateway struct {
	url    string
	client *http.Client
	config []byte
}

// startGateway runs Caddy with all sites until the end of the test.
func startGateway(t *testing.T, sites []*site) *gateway {
	t.Helper()
	t.Setenv("KV_HASH_KEY", "a key for the test")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	socket, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	g := &gateway{
		url: "http://" + listener.Addr().String(), client: harness.NewClient(t),
		config: mergeSites(t, sites, fmt.Sprint("fd/", socket.Fd())),
	}
	t.Cleanup(func() { checkStopped(t) }) // runs when Caddy has stopped
	harness.Run(t, g.config)
	return g
}

// mergeSites returns one config with all sites, told apart by their hosts.
func mergeSites(t *testing.T, sites []*site, address string) []byte {
	t.Helper()
	routes, options := []any{}, map[string]any{} // of all sites together
	for _, s := range sites {
		own, app := s.setup.routes(t, s.replace)
		if text, _ := json.Marshal(own); bytes.Contains(text, []byte("node-")) || bytes.Contains(text, []byte(`"port":"8000"`)) {
			t.Fatalf("upstreams of the config %q are not replaced: %s", s.setup.name, text)
		}
		if app != nil {
			if err := json.Unmarshal(app, &options); err != nil {
				t.Fatal(err)
			}
		}
		routes = append(routes, map[string]any{
			"match": []any{map[string]any{"host": []string{s.host}}},
			"handle": []any{
				map[string]any{"handler": "test_arrivals"},
				map[string]any{"handler": "map", "source": "user", "destinations": []string{"{http.auth.user.id}"}, "defaults": []string{"alice"}},
				map[string]any{"handler": "subroute", "routes": own},
			},
			"terminal": true,
		})
	}
	apps := map[string]any{"kv_aware": options}
	apps["http"] = map[string]any{"servers": map[string]any{"faults": map[string]any{
		"routes": routes, "automatic_https": map[string]bool{"disable": true},
	}}}
	raw, err := json.Marshal(map[string]any{"apps": apps})
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(harness.Adapt(t, "json", string(raw)), &c); err != nil {
		t.Fatal(err)
	}
	// One socket for all reloads: each would reset the connections that wait in
	// its own. And no debug lines: there are too many.
	c["apps"].(map[string]any)["http"].(map[string]any)["servers"].(map[string]any)["faults"].(map[string]any)["listen"] = []string{address}
	c["logging"].(map[string]any)["logs"].(map[string]any)["default"].(map[string]any)["level"] = "INFO"
	out, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// reloadInterval lies between two reloads.
const reloadInterval = 6 * time.Second

// reloading reloads the config again and again, until stop is called.
func (g *gateway) reloading(t *testing.T) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(reloadInterval)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				if err := caddy.Load(g.config, true); err != nil {
					t.Errorf("reloading: %v", err)
				}
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}
