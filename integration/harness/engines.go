// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// StartEngines starts n simulated engines until the end of the test.
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

// StartPublishingEngines starts n engines that publish their KV events, with
// replay unless the config says otherwise, at the same ports of different
// hosts.
func StartPublishingEngines(t testing.TB, n int, config enginesim.Config) []*enginesim.Engine {
	t.Helper()
	if config.Events == nil {
		config.Events = &enginesim.EventsConfig{Replay: true}
	}
	engines, err := enginesim.StartNodes(config, n)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range engines {
		t.Cleanup(e.Close)
	}
	return engines
}

// Addresses lists engines as reverse_proxy takes them.
func Addresses(engines []*enginesim.Engine) string {
	all := make([]string, len(engines))
	for i, e := range engines {
		all[i] = e.Addr()
	}
	return strings.Join(all, " ")
}

// HitRate returns cached tokens / prompt tokens over all engines.
func HitRate(engines []*enginesim.Engine) float64 {
	var prompt, cached int64
	for _, e := range engines {
		s := e.Stats()
		prompt += s.PromptTokens
		cached += s.CachedTokens
	}
	return float64(cached) / float64(max(1, prompt))
}

// SendDirect sends an engine a request that does not come through the gateway.
func SendDirect(t testing.TB, e *enginesim.Engine, path, body string) Completion {
	t.Helper()
	resp, err := http.Post(e.URL()+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d, %v: %.300s", resp.StatusCode, err, raw)
	}
	var c Completion
	if strings.HasSuffix(path, "/completions") {
		if err := json.Unmarshal(raw, &c); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// Answered sends a chat request and reports whether the status is 200; any
// other is an error of the test. It may be called from any goroutine.
func Answered(t testing.TB, client *http.Client, url, body string) bool {
	t.Helper()
	answer, err := client.Post(url+ChatPath, "application/json", strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return false
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("status %d", answer.StatusCode)
	}
	return answer.StatusCode == http.StatusOK
}

// CallTool is a responder that answers a request that offers tools with a tool
// call.
func CallTool(r enginesim.Request) enginesim.Reply {
	if strings.Contains(string(r.Body), `"tools"`) {
		return enginesim.Reply{ToolCalls: []enginesim.ToolCall{{Name: "look", Arguments: "{}"}}}
	}
	return enginesim.Reply{Text: "Fine."}
}

// PortOf returns the port of host:port.
func PortOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

// AtPort returns the address of a port on an engine's host.
func AtPort(e *enginesim.Engine, port string) string {
	host, _, _ := net.SplitHostPort(e.Addr())
	return net.JoinHostPort(host, port)
}

// CommonPort returns a port that is free on the hosts of all engines.
func CommonPort(t testing.TB, engines []*enginesim.Engine) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		port, free := PortOf(l.Addr().String()), true
		for _, e := range engines {
			if l, err := net.Listen("tcp", AtPort(e, port)); err != nil {
				free = false
			} else {
				l.Close()
			}
		}
		if free {
			return port
		}
	}
	t.Fatal("no port is free on all hosts")
	return ""
}
