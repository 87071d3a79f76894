// SPDX-License-Identifier: Apache-2.0

package llamacpp

import (
	"fmt"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/counterparts"
	"github.com/bauxite/caddy-kvaware/integration/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// The metrics that tests compare: llama.cpp's and the gateway's.
const (
	cachedTokens   = "llamacpp:prompt_tokens_cached_total"
	reportedTokens = "caddy_kv_aware_reported_cached_tokens_total"
)

// startGateway starts a gateway whose answers carry the prediction.
func startGateway(t *testing.T, servers []*counterparts.LlamaCPP, policy string) *harness.Gateway {
	t.Helper()
	return harness.StartGateway(t, "caddyfile", fmt.Sprintf(`:8080 {
	pii_janitor
	header >X-Predicted {http.kv_aware.match_tokens}
	reverse_proxy %s {
		lb_policy %s
	}
}`, counterparts.LlamaCPPAddresses(servers), policy))
}

func sumMetric(t *testing.T, servers []*counterparts.LlamaCPP, name string) (sum float64) {
	t.Helper()
	for _, s := range servers {
		sum += s.Metric(t, name)
	}
	return sum
}
