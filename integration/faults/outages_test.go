// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// When every engine fails, the client gets an engine's own answer, and the retries
// do not multiply the load.
func TestEveryEngineFails(t *testing.T) {
	if testing.Short() {
		t.Skip("sends some hundred requests")
	}
	const requests = 600
	nodes := startNodes(t, fastEngine, 0, 4)
	for _, n := range nodes {
		if err := n.engine.Fault(enginesim.Fault{Kind: enginesim.Status, Status: http.StatusServiceUnavailable, RetryAfter: "3"}); err != nil {
			t.Fatal(err)
		}
	}
	s := newSite(t, "all fail", start, nodes)
	g := startGateway(t, []*site{s})
	began := time.Now()
	for n := range requests {
		resp, err := g.post(t.Context(), s, s.request(n), "")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") != "3" || !strings.Contains(string(body), "was told to fail") {
			t.Fatalf("request %d: status %d, Retry-After %q, %v, body %.200s", n, resp.StatusCode, resp.Header.Get("Retry-After"), err, body)
		}
	}
	attempts := int64(0)
	for _, n := range s.received() {
		attempts += n
	}
	// The budget: a fifth of the requests, and ten a second with a reserve of ten
	// seconds.
	most := int64(requests) + requests/5 + 10*(10+int64(time.Since(began).Seconds())+1)
	t.Logf("%d attempts for %d requests, at most %d", attempts, requests, most)
	if attempts > most {
		t.Errorf("%d attempts for %d requests, want at most %d", attempts, requests, most)
	}
	checkNothingIsLeft(t)
}

// A prompt that kills the engine that reads it is not sent to every engine in turn.
func TestPoisonousPrompt(t *testing.T) {
	nodes := startNodes(t, fastEngine, 0, 4)
	s := newSite(t, "poison", start, nodes)
	g := startGateway(t, []*site{s})
	if count := g.pace(s, 0, warmRequests, time.Millisecond, s.request, nil); count.lost > 0 {
		t.Fatal(count)
	}
	before := s.received()
	for _, n := range nodes {
		if err := n.engine.Fault(enginesim.Fault{Kind: enginesim.Reset}); err != nil {
			t.Fatal(err)
		}
	}
	harness.Log.Reset()
	if lost := g.send(t.Context(), s, harness.Chat("xylophone", false)); lost != "status 502" {
		t.Errorf("the answer: %q", lost)
	}
	reached := 0
	for i, n := range s.received() {
		if n > before[i] {
			reached++
		}
	}
	if reached != 2 {
		t.Errorf("%d engines got the prompt, want 2", reached)
	}
	if log := harness.Log.String(); !strings.Contains(log, "it is not tried at a third") || strings.Contains(log, "xylophone") {
		t.Errorf("the log does not say so, or shows the prompt: %s", log)
	}
	checkNothingIsLeft(t)
}

// A client that leaves says nothing of the engine, as long as its answer is not
// overdue.
func TestClientsThatLeave(t *testing.T) {
	if testing.Short() {
		t.Skip("sends some hundred requests")
	}
	const clients = 200
	slow := engineConfig
	slow.OutputTokens = 200 // for a second
	nodes := startNodes(t, slow, 0, 4)
	s := newSite(t, "clients leave", start, nodes)
	g := startGateway(t, []*site{s})
	left := g.paceFor(s, 0, clients, 2*time.Millisecond, 50*time.Millisecond, s.request, nil)
	t.Log(left)
	if left.lost < clients/2 {
		t.Fatalf("only %d of %d clients have left", left.lost, clients)
	}
	checkNothingIsLeft(t)
	for i, n := range nodes {
		if failed := metric("caddy_kv_aware_failures_total", "upstream", n.address()); failed != 0 || leftOut(n) {
			t.Errorf("engine %d: %v failures are counted", i, failed)
		}
	}
}
