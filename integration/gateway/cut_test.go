// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// cutProxy is a site that also takes HTTP/2 without TLS.
const cutProxy = `{
	servers {
		protocols h1 h2c
	}
}
:8080 {
	pii_janitor
	reverse_proxy %s {
		lb_policy kv_aware
	}
}`

// streamed has a streamed request of each API, and the beginning of the event by
// which its SDKs learn of a failure.
var streamed = []struct{ path, body, failure string }{
	{"/v1/chat/completions", `{"model":"sim","stream":true,"messages":[{"role":"user","content":%q}]}`, `data: {"error":{"message":`},
	{"/v1/completions", `{"model":"sim","stream":true,"max_tokens":64,"prompt":%q}`, `data: {"error":{"message":`},
	{"/v1/messages", `{"model":"sim","stream":true,"max_tokens":64,"messages":[{"role":"user","content":%q}]}`,
		"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\""},
	{"/v1/responses", `{"model":"sim","stream":true,"input":%q}`, "event: error\ndata: {\"type\":\"error\",\"sequence_number\":"},
}

// cuttingEngine passes on the beginnings of a simulated engine's answers.
type cuttingEngine struct {
	*enginesim.Engine
	keep   func(wire []byte) int // the length of the beginning
	breaks bool                  // break the connection behind it, else end the answer
}

func (e *cuttingEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		e.Engine.ServeHTTP(w, r)
		return
	}
	whole := httptest.NewRecorder()
	e.Engine.ServeHTTP(whole, r)
	w.Header().Set("Content-Type", whole.Header().Get("Content-Type"))
	w.WriteHeader(whole.Code)
	_, _ = w.Write(whole.Body.Bytes()[:e.keep(whole.Body.Bytes())])
	if e.breaks {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// eventEnd returns the end of the n-th event of a stream.
func eventEnd(wire []byte, n int) int {
	end := 0
	for range n {
		end += bytes.Index(wire[end:], []byte("\n\n")) + 2
	}
	return end
}

// A client learns from every API's own error event that the engine cut a stream
// off, wherever that happens, and the connection breaks behind it.
func TestCutStreamEndsClearly(t *testing.T) {
	sim, err := enginesim.New(enginesim.Config{Speed: 100, Responder: enginesim.Echo})
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	engine := &cuttingEngine{Engine: sim}
	server := httptest.NewServer(engine)
	defer server.Close()
	g := harness.StartGateway(t, "caddyfile", fmt.Sprintf(cutProxy, server.Listener.Addr()))
	h2 := &http.Transport{Protocols: new(http.Protocols)}
	h2.Protocols.SetUnencryptedHTTP2(true)
	defer h2.CloseIdleConnections()

	for name, keep := range map[string]func(wire []byte) int{
		"between events":        func(wire []byte) int { return eventEnd(wire, 3) },
		"within an event":       func(wire []byte) int { return eventEnd(wire, 3) + 20 },
		"within the last event": func(wire []byte) int { return len(wire) - 4 - len(`{}]"`) },
		"before the last event": func(wire []byte) int { return eventEnd(wire, bytes.Count(wire, []byte("\n\n"))-1) },
	} {
		for _, api := range streamed {
			for _, text := range []string{"nothing to restore", "write to " + harness.SecretMail} {
				for _, client := range []*http.Client{g.Client, {Transport: h2}} {
					engine.keep = keep
					for _, engine.breaks = range []bool{false, true} {
						t.Run(fmt.Sprintf("%s %s breaks=%t", name, api.path, engine.breaks), func(t *testing.T) {
							wantFailure(t, client, g.URL+api.path, fmt.Sprintf(api.body, text), api.failure)
						})
					}
				}
			}
		}
	}
}

// wantFailure sends a request whose answer is cut off.
func wantFailure(t *testing.T, client *http.Client, url, body, failure string) {
	t.Helper()
	resp, err := client.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err == nil {
		t.Error("the answer ends as if it were whole")
	}
	events := strings.Split(string(got), "\n\n")
	if len(events) < 4 || events[len(events)-1] != "" || !strings.HasPrefix(events[len(events)-2], failure) {
		t.Fatalf("the client got %q", got)
	}
	for _, event := range events[:len(events)-2] {
		if _, data, _ := strings.Cut(event, "data: "); !strings.HasPrefix(data, "{") || !strings.HasSuffix(data, "}") {
			t.Errorf("an event is not whole: %q", event)
		}
	}
}

// A stream that is whole stays as it is, also when its connection breaks behind it.
func TestWholeStreamStays(t *testing.T) {
	sim, err := enginesim.New(enginesim.Config{Speed: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	engine := &cuttingEngine{Engine: sim, keep: func(wire []byte) int { return len(wire) }}
	server := httptest.NewServer(engine)
	defer server.Close()
	g := harness.StartGateway(t, "caddyfile", fmt.Sprintf(cutProxy, server.Listener.Addr()))
	for _, api := range streamed {
		for _, engine.breaks = range []bool{false, true} {
			resp, err := g.Client.Post(g.URL+api.path, "application/json", strings.NewReader(fmt.Sprintf(api.body, "hello")))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if strings.Contains(string(got), `"error":{`) || (err != nil) != engine.breaks {
				t.Errorf("%s, breaks %t: %v, got %q", api.path, engine.breaks, err, got)
			}
		}
	}
}
