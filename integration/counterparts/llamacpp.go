// SPDX-License-Identifier: Apache-2.0

package counterparts

import (
	"bufio"
	"encoding/json"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
)

// LlamaCPP is a running server of llama.cpp.
type LlamaCPP struct {
	Address string // host:port
	Kill    func() // ends it at once; its port is free then
	model   string
}

// Model is the name under which llama.cpp serves its model.
const Model = "sim"

// slots and slotContext are llama.cpp's --parallel, and the tokens that each slot
// holds. Beside the slots it keeps 8 GiB of what they held, by default.
const (
	slots       = 2
	slotContext = 8192
)

// StartLlamaCPP starts n servers until the end of the test. They serve the same tiny
// model with random weights, whose tokens are bytes.
func StartLlamaCPP(t testing.TB, n int) []*LlamaCPP {
	t.Helper()
	model := filepath.Join(t.TempDir(), "tiny.gguf")
	writeModel(t, model)
	all := make([]*LlamaCPP, n)
	for i := range all {
		all[i] = &LlamaCPP{model: model, Address: "127.0.0.1:0"}
		all[i].Start(t)
	}
	return all
}

// Start starts a server again, at its address, after Kill.
func (l *LlamaCPP) Start(t testing.TB) {
	t.Helper()
	port, err := strconv.Atoi(harness.PortOf(l.Address))
	if err != nil {
		t.Fatal(err)
	}
	settings, err := json.Marshal(map[string]any{
		"packages": filepath.Join(folder(t), "python"), "model": l.model, "name": Model,
		"port": port, "slots": slots, "context": slotContext,
	})
	if err != nil {
		t.Fatal(err)
	}
	server := harness.StartPiped(t, python(), "-I", filepath.Join(source, "llamacpp.py"), string(settings))
	l.Kill = server.Kill
	lines := bufio.NewScanner(server.Out)
	if !lines.Scan() {
		l.Kill()
		t.Fatalf("llama.cpp has not started: %.2000s", &server.Log)
	}
	l.Address = strings.TrimPrefix(lines.Text(), "http://")
}

// LlamaCPPAddresses lists servers as reverse_proxy takes them.
func LlamaCPPAddresses(servers []*LlamaCPP) string {
	all := make([]string, len(servers))
	for i, l := range servers {
		all[i] = l.Address
	}
	return strings.Join(all, " ")
}

// Metric returns a value of the server's own metrics.
func (l *LlamaCPP) Metric(t testing.TB, name string) float64 {
	t.Helper()
	resp, err := http.Get("http://" + l.Address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if value, found := strings.CutPrefix(lines.Text(), name+" "); found {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("llama.cpp has no metric %s", name)
	return 0
}
