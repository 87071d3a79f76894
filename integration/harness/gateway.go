// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Gateway is a running Caddy and a client for it. There is one config a
// process, so tests that start a gateway cannot run in parallel.
type Gateway struct {
	URL    string
	Client *http.Client
}

// StartGateway runs a config until the end of the test. The adapter is
// "caddyfile", "bauxite" or "json". The config must have one server, which
// listens on a random port whatever the config says.
func StartGateway(t testing.TB, adapter, config string) *Gateway {
	t.Helper()
	return Run(t, Adapt(t, adapter, config))
}

// Run is StartGateway for JSON that Adapt has returned.
func Run(t testing.TB, config []byte) *Gateway {
	t.Helper()
	load(t, config)
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping Caddy: %v", err)
		}
	})
	return &Gateway{URL: ServerURL(t), Client: NewClient(t)}
}

// Reload replaces the running config. The port changes, and with it g.URL.
func (g *Gateway) Reload(t testing.TB, adapter, config string) {
	t.Helper()
	load(t, Adapt(t, adapter, config))
	g.URL = ServerURL(t)
}

func load(t testing.TB, config []byte) {
	t.Helper()
	if err := caddy.Load(config, true); err != nil {
		t.Fatalf("loading the config: %v", err)
	}
}

// Adapt returns a config as JSON that can run beside any other process: no
// admin endpoint, no autosave, a random port, and a debug log in memory (Log).
func Adapt(t testing.TB, adapter, config string) []byte {
	t.Helper()
	raw := []byte(config)
	if adapter != "json" {
		var warnings []caddyconfig.Warning
		var err error
		raw, warnings, err = caddyconfig.GetAdapter(adapter).Adapt(raw, map[string]any{"filename": "test"})
		if err != nil {
			t.Fatalf("adapting the config: %v", err)
		}
		for _, w := range warnings {
			if !strings.Contains(w.Message, "not formatted") {
				t.Fatalf("adapting the config: warning: %v", w)
			}
		}
	}
	var c map[string]any
	if err := json.Unmarshal(raw, &c); err != nil {
		t.Fatal(err)
	}
	c["admin"] = map[string]any{"disabled": true, "config": map[string]any{"persist": false}}
	c["storage"] = map[string]any{"module": "file_system", "root": t.TempDir()}
	c["logging"] = map[string]any{"logs": map[string]any{"default": map[string]any{
		"level": "DEBUG", "writer": map[string]any{"output": "test_memory"}, "encoder": map[string]any{"format": "json"},
	}}}
	apps := c["apps"].(map[string]any)
	tls, _ := apps["tls"].(map[string]any)
	if tls == nil {
		tls = map[string]any{}
		apps["tls"] = tls
	}
	tls["disable_storage_check"], tls["disable_storage_clean"] = true, true
	for _, s := range apps["http"].(map[string]any)["servers"].(map[string]any) {
		s.(map[string]any)["listen"] = []string{"127.0.0.1:0"}
	}
	out, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// ServerURL returns the address of the running config's only server.
func ServerURL(t testing.TB) string {
	t.Helper()
	app, err := caddy.ActiveContext().App("http")
	if err != nil {
		t.Fatal(err)
	}
	servers := app.(*caddyhttp.App).Servers
	if len(servers) != 1 {
		t.Fatalf("the config has %d servers, want one", len(servers))
	}
	for _, s := range servers {
		return "http://" + s.Listeners()[0].Addr().String()
	}
	return ""
}

// NewClient returns a client whose idle connections close with the test.
func NewClient(t testing.TB) *http.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 2 * time.Minute}
}

// Reply is an answer with its whole body.
type Reply struct {
	Status int
	Header http.Header
	Body   string
}

// Post sends a JSON body. Headers come as name, value, name, value.
func (g *Gateway) Post(t testing.TB, path, body string, header ...string) Reply {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, g.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return g.Do(t, r)
}

// Get sends a GET request.
func (g *Gateway) Get(t testing.TB, path string) Reply {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, g.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return g.Do(t, r)
}

// Do sends any request.
func (g *Gateway) Do(t testing.TB, r *http.Request) Reply {
	t.Helper()
	resp, err := g.Client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	return Reply{Status: resp.StatusCode, Header: resp.Header, Body: string(body)}
}

// Must sends a chat request and fails the test unless the status is 200.
func (g *Gateway) Must(t testing.TB, body string) {
	t.Helper()
	if answer := g.Post(t, ChatPath, body); answer.Status != http.StatusOK {
		t.Fatalf("status %d: %.300s", answer.Status, answer.Body)
	}
}

// FreeAddress returns an address at which nothing listens. Its port is outside
// the range from which the kernel picks ports, so no other process gets it
// soon.
func FreeAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprint(":", 15000+rand.IntN(15000)))
		if err == nil {
			defer l.Close()
			return "127.0.0.1:" + PortOf(l.Addr().String())
		}
	}
	t.Fatal("no port is free")
	return ""
}
