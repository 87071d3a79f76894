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

// outcome holds the figures of one policy, as the engines report them.
type outcome struct {
	policy   string
	hitRate  float64
	p50, p95 time.Duration // time to first token, in simulated time
	busiest  float64       // prompt tokens of the busiest engine / mean
}

// sessionSpeed is the speed of sessions and engines; real time is 1.
const sessionSpeed = 10

// runSessions sends the sessions through a real Caddy with a policy. Turns of
// one session follow each other as an agent's do: the answer, the agent's own
// time as in the trace, the next turn. Sessions run side by side.
func runSessions(b *testing.B, policy string, sessions [][]harness.Turn) outcome {
	b.Helper()
	// Room for 150,000 tokens each.
	engines := harness.StartEngines(b, 4, enginesim.Config{CacheBlocks: 150_000 / 16, MaxModelLen: 120_000, OutputTokens: 16, Speed: sessionSpeed})
	g := harness.StartGateway(b, "caddyfile", fmt.Sprintf(`:8080 {
		pii_janitor
		reverse_proxy %s {
			lb_policy %s
		}
	}`, harness.Addresses(engines), policy))
	var wg sync.WaitGroup
	failures := make(chan error, 1000)
	for i, s := range sessions {
		wg.Go(func() {
			time.Sleep(time.Duration(i) * time.Second / sessionSpeed) // sessions begin one after the other
			for n, u := range s {
				if n > 0 {
					gap := time.Duration(u.Timestamp-s[n-1].Timestamp) * time.Microsecond
					time.Sleep(min(gap, 5*time.Second) / sessionSpeed)
				}
				if err := sendTurn(g, u); err != nil {
					failures <- err
				}
			}
		})
	}
	wg.Wait()
	close(failures)
	for err := range failures {
		b.Fatal(err)
	}
	return readOutcome(policy, engines)
}

func sendTurn(g *harness.Gateway, u harness.Turn) error {
	r, err := http.NewRequest(http.MethodPost, g.URL+harness.ChatPath, strings.NewReader(harness.Chat(u.Input, true)))
	if err != nil {
		return err
	}
	r.Header.Set("X-Session-Id", u.Session)
	resp, err := g.Client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

func readOutcome(policy string, engines []*enginesim.Engine) outcome {
	o := outcome{policy: policy, hitRate: harness.HitRate(engines)}
	var ttft []time.Duration
	var prompt, most int64
	for _, e := range engines {
		tokens := e.Stats().PromptTokens
		prompt += tokens
		most = max(most, tokens)
		for _, served := range e.Served() {
			ttft = append(ttft, served.TTFT)
		}
	}
	slices.Sort(ttft)
	o.p50, o.p95 = quantile(ttft, 0.5), quantile(ttft, 0.95)
	o.busiest = float64(most) * float64(len(engines)) / float64(prompt)
	return o
}

// BenchmarkAgentSessions routes real agent prompts through a real Caddy to
// simulated engines. Sticky sessions are the cheapest rival there is, and this
// is the best case for them: every prompt belongs to one session.
func BenchmarkAgentSessions(b *testing.B) {
	sessions, recorded := harness.AgentSessions(b)
	title := "generated agent sessions"
	if recorded {
		title = "402 prompts of 20 agent sessions"
	}
	for b.Loop() {
		var table strings.Builder
		w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
		fmt.Fprintf(w, "policy\thit rate\tTTFT p50\tTTFT p95\tbusiest\n")
		for _, policy := range []string{"kv_aware", "least_conn", "round_robin", "header X-Session-Id", "client_ip_hash"} {
			o := runSessions(b, policy, sessions)
			fmt.Fprintf(w, "%s\t%.1f %%\t%d ms\t%d ms\t%.2f\n", o.policy, 100*o.hitRate, o.p50.Milliseconds(), o.p95.Milliseconds(), o.busiest)
			if policy == "kv_aware" {
				b.ReportMetric(100*o.hitRate, "%hit")
				b.ReportMetric(float64(o.p95.Milliseconds()), "ttft-p95-ms")
			}
		}
		w.Flush()
		b.Logf("%s, 4 simulated engines with room for 150,000 tokens each; TTFT in simulated time\n%s", title, table.String())
	}
}
