// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// startProxy is the site of the README's first configuration.
const startProxy = `:8080 {
	pii_janitor
	reverse_proxy %s {
		lb_policy kv_aware
	}
}`

// TestNothingIsLostByDefault sends requests to four engines of which the first
// fails from the beginning. No option turns retries on.
func TestNothingIsLostByDefault(t *testing.T) {
	for name, fault := range map[string]enginesim.Fault{
		"refuse": {Kind: enginesim.Refuse},
		"500":    {Kind: enginesim.Status, Status: 500},
		"502":    {Kind: enginesim.Status, Status: 502},
		"503":    {Kind: enginesim.Status, Status: 503},
		"429":    {Kind: enginesim.Status, Status: 429},
		"reset":  {Kind: enginesim.Reset},
	} {
		t.Run(name, func(t *testing.T) {
			engines := harness.StartEngines(t, 4, enginesim.Config{Speed: 50})
			g := harness.StartGateway(t, "caddyfile", fmt.Sprintf(startProxy, harness.Addresses(engines)))
			if err := engines[0].Fault(fault); err != nil {
				t.Fatal(err)
			}
			for i := range 100 {
				question := fmt.Sprintf("Question %d. ", i) + strings.Repeat("The quick brown fox jumps over the lazy dog. ", 40)
				if answer := g.Post(t, "/v1/chat/completions", harness.Chat(question, false)); answer.Status != http.StatusOK {
					t.Fatalf("request %d: status %d, body %.200s", i, answer.Status, answer.Body)
				}
			}
			t.Logf("the failing engine got %d requests", engines[0].Stats().Requests)
		})
	}
}

// TestTheLastAnswerReachesTheClient checks that with every engine failing the client
// gets the last engine's own answer, header and body.
func TestTheLastAnswerReachesTheClient(t *testing.T) {
	engines := harness.StartEngines(t, 2, enginesim.Config{Speed: 50})
	g := harness.StartGateway(t, "caddyfile", fmt.Sprintf(startProxy, harness.Addresses(engines)))
	for _, e := range engines {
		if err := e.Fault(enginesim.Fault{Kind: enginesim.Status, Status: 500}); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		answer := g.Post(t, "/v1/chat/completions", harness.Chat("hello", false))
		if answer.Status != 500 || !strings.Contains(string(answer.Body), "error") {
			t.Fatalf("status %d, body %q", answer.Status, answer.Body)
		}
	}
}
