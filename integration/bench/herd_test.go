// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// runHerd sends 200 equal prompts of about 5,000 tokens at once to 4 idle engines,
// and returns the times until the last byte of each answer, in order, and how many
// requests went to each engine.
func runHerd(b *testing.B, policy string) (took []time.Duration, served []int64) {
	b.Helper()
	engines := harness.StartEngines(b, 4, enginesim.Config{OutputTokens: 150})
	g := harness.StartGateway(b, "caddyfile", fmt.Sprintf(`:8080 {
		pii_janitor
		reverse_proxy %s {
			lb_policy %s
		}
	}`, harness.Addresses(engines), policy))
	body := harness.Chat(strings.Repeat("The pump room log says nothing new. ", 20_000/36), true)
	took = make([]time.Duration, 200)
	var wg sync.WaitGroup
	for i := range took {
		wg.Go(func() {
			begin := time.Now()
			resp, err := g.Client.Post(g.URL+harness.ChatPath, "application/json", strings.NewReader(body))
			if err != nil {
				b.Error(err)
				return
			}
			defer resp.Body.Close()
			if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
				b.Errorf("status %d: %v", resp.StatusCode, err)
			}
			took[i] = time.Since(begin)
		})
	}
	wg.Wait()
	slices.Sort(took)
	for _, e := range engines {
		served = append(served, e.Stats().Served)
	}
	return took, served
}

// BenchmarkColdHerd measures how long the answers take when many clients ask for
// the same at once, and no engine holds the prompt. A policy that sends all to one
// engine has it decode them in one batch.
func BenchmarkColdHerd(b *testing.B) {
	for b.Loop() {
		var table strings.Builder
		w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
		fmt.Fprintf(w, "policy\tanswer p50\tanswer p95\trequests\n")
		for _, policy := range []string{"kv_aware", "least_conn", "round_robin"} {
			took, served := runHerd(b, policy)
			p50, p95 := quantile(took, 0.5), quantile(took, 0.95)
			fmt.Fprintf(w, "%s\t%.2f s\t%.2f s\t%v\n", policy, p50.Seconds(), p95.Seconds(), served)
			if policy == "kv_aware" {
				b.ReportMetric(p50.Seconds(), "answer-p50-s")
			}
		}
		w.Flush()
		b.Logf("200 equal prompts at once, 4 simulated engines\n%s", table.String())
	}
}
