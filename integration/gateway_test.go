// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/bauxite/caddy-kvaware"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// Caddy has one config a process, so nothing in this package runs in parallel.
func TestMain(m *testing.M) {
	// What Caddy would write goes nowhere near the user's own files.
	home, err := os.MkdirTemp("", "caddy-kvaware")
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"} {
		os.Setenv(name, home)
	}
	code := m.Run()
	os.RemoveAll(home)
	os.Exit(code)
}

// gateway is a real Caddy, in this process, on a port of its own.
type Gateway struct {
	URL    string
	Client *http.Client
}

// startGateway runs a config until the end of the test. The config is a
// Caddyfile unless it starts with a brace at a JSON object's place; its first
// server listens on a random port whatever it says.
func StartGateway(t testing.TB, adapter, config string) *Gateway {
	t.Helper()
	load(t, adapter, config)
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping Caddy: %v", err)
		}
	})
	return &Gateway{URL: ServerURL(t), Client: NewClient(t)}
}

// reload replaces the running config, on whatever port it comes up.
func (g *Gateway) Reload(t testing.TB, adapter, config string) {
	t.Helper()
	load(t, adapter, config)
	g.URL = ServerURL(t)
}

// load adapts a config and makes Caddy run it.
func load(t testing.TB, adapter, config string) {
	t.Helper()
	if err := caddy.Load(Adapt(t, adapter, config), true); err != nil {
		t.Fatalf("loading the config: %v", err)
	}
}

// adapted returns a config as JSON that can run beside anything else: no
// admin endpoint, no autosave, a port of its own, everything logged to memory.
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

// serverURL returns where the running config's only server listens.
func ServerURL(t testing.TB) string {
	t.Helper()
	app, err := caddy.ActiveContext().App("http")
	if err != nil {
		t.Fatal(err)
	}
	servers := app.(*caddyhttp.App).Servers
	if len(servers) != 1 {
		t.Fatalf("the config has %d servers; the tests want one", len(servers))
	}
	for _, s := range servers {
		return "http://" + s.Listeners()[0].Addr().String()
	}
	return ""
}

// newClient returns a client whose connections end with the test.
func NewClient(t testing.TB) *http.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

// reply is an answer that was read whole.
type Reply struct {
	Status int
	Header http.Header
	Body   string
}

// post sends a JSON body and reads the whole answer.
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

func (g *Gateway) Get(t testing.TB, path string) Reply {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, g.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return g.Do(t, r)
}

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

// chat returns a chat request with one user message.
func Chat(text string, stream bool) string {
	body, err := json.Marshal(map[string]any{
		"model":    "sim",
		"stream":   stream,
		"messages": []map[string]string{{"role": "user", "content": text}},
	})
	if err != nil {
		panic(err)
	}
	return string(body)
}

// startEngines starts n simulated engines until the end of the test.
func StartEngines(t testing.TB, n int, config enginesim.Config) []*enginesim.Engine {
	t.Helper()
	engines := make([]*enginesim.Engine, n)
	for i := range engines {
		e, err := enginesim.Start(config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(e.Close)
		engines[i] = e
	}
	return engines
}

// addresses lists engines as reverse_proxy wants them.
func Addresses(engines []*enginesim.Engine) string {
	all := make([]string, len(engines))
	for i, e := range engines {
		all[i] = e.Addr()
	}
	return strings.Join(all, " ")
}

func init() { caddy.RegisterModule(memoryWriter{}) }

// memoryWriter is a log output that keeps every line for the tests to read.
type memoryWriter struct{}

func (memoryWriter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddy.logging.writers.test_memory",
		New: func() caddy.Module { return new(memoryWriter) },
	}
}

func (memoryWriter) String() string                      { return "memory" }
func (memoryWriter) WriterKey() string                   { return "memory" }
func (memoryWriter) OpenWriter() (io.WriteCloser, error) { return &Log, nil }

// logLines is everything that was logged since it was last emptied.
var Log LogLines

type LogLines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *LogLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *LogLines) Close() error { return nil }

func (l *LogLines) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Reset()
}

func (l *LogLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Interface guards
var _ caddy.WriterOpener = memoryWriter{}
