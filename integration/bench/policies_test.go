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
	"github.com/bauxite/caddy-kvaware/internal/replay"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// The engines of the comparison, live and in the replay. They are busy two
// thirds of the time under the better policies.
const (
	orderNodes    = 4
	orderKVTokens = 60_000
	orderChunk    = 512
	orderStep     = 20 * time.Millisecond // of one decode, and a hundredth of it for each further one
	orderSpan     = 40 * time.Second

	// orderSpeed is the first speed of live engines and clients; real time is 1.
	// The gateway learns in real time: it sees faster engines, and has less time
	// to learn, both by this factor.
	orderSpeed = 4
)

// orderPolicies returns all policies but the last two of the replay, which are
// bounds that no gateway could run.
func orderPolicies() []string {
	names, _ := replay.Policies()
	return names[:len(names)-2]
}

// contest runs all policies side by side in one gateway, each in front of
// engines of its own. Whatever else the machine does delays all of them.
type contest struct {
	speed   int // see orderSpeed
	gateway *harness.Gateway
	engines map[string][]*enginesim.Engine // by policy
}

func startContest(t testing.TB, names []string, speed int) *contest {
	t.Helper()
	harness.Log.Reset()
	c := &contest{speed: speed, engines: make(map[string][]*enginesim.Engine)}
	var site strings.Builder
	for _, name := range names {
		engines := harness.StartEngines(t, orderNodes, enginesim.Config{
			// Few pieces in a stream: they are most of what the contest costs.
			CacheBlocks: orderKVTokens / 16, ChunkTokens: orderChunk, OutputTokens: 1000, StreamInterval: 20,
			DecodeRate: float64(time.Second / orderStep), Speed: float64(speed),
		})
		c.engines[name] = engines
		policy := name
		if name != "kv_aware" {
			if err := prepareRival(name, engines, orderKVTokens); err != nil {
				t.Fatal(err)
			}
			policy = "test_rival " + name
		}
		// A machine that stands still for some seconds is no reason to give up.
		fmt.Fprintf(&site, "handle_path /%s/* {\npii_janitor\nreverse_proxy %s {\nlb_policy %s\ntransport http {\ndial_timeout 1m\n}\n}\n}\n",
			name, harness.Addresses(engines), policy)
	}
	c.gateway = harness.StartGateway(t, "caddyfile", ":8080 {\n"+site.String()+"}")
	return c
}

// run sends every policy all requests at their times. It returns the lag of the
// latest tenth of them, in the engines' time.
func (c *contest) run(t testing.TB, all []arrival) (lag time.Duration) {
	t.Helper()
	lags := make([]time.Duration, len(all))
	var wg sync.WaitGroup
	failures := make(chan error, len(all)*len(c.engines))
	began := time.Now()
	for i := range all {
		at := began.Add(all[i].At / time.Duration(c.speed))
		time.Sleep(time.Until(at))
		lags[i] = time.Since(at) * time.Duration(c.speed)
		for name := range c.engines { // in random order
			wg.Go(func() {
				if err := all[i].send(c.gateway, name); err != nil {
					failures <- err
				}
			})
		}
	}
	wg.Wait()
	close(failures)
	for err := range failures {
		t.Fatalf("%v; errors of the gateway:\n%s", err, loggedErrors())
	}
	slices.Sort(lags)
	return lags[len(lags)*9/10]
}

// loggedErrors returns the errors that the gateway has logged.
func loggedErrors() string {
	var found []string
	for line := range strings.Lines(harness.Log.String()) {
		if strings.Contains(line, `"level":"error"`) {
			found = append(found, line)
		}
	}
	return strings.Join(found, "")
}

func (a *arrival) send(g *harness.Gateway, policy string) error {
	r, err := http.NewRequest(http.MethodPost, g.URL+"/"+policy+"/v1/chat/completions", strings.NewReader(harness.Ask("sim", a.Input, true, a.Output)))
	if err != nil {
		return err
	}
	r.Header.Set(sessionHeader, a.Session)
	r.Header.Set(startHeader, a.Input[:min(100, len(a.Input))])
	resp, err := g.Client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: status %d", policy, resp.StatusCode)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// mean returns the mean time to first token of a policy, in its engines' time.
func (c *contest) mean(t testing.TB, policy string, requests int) time.Duration {
	t.Helper()
	var sum time.Duration
	count := 0
	for _, e := range c.engines[policy] {
		for _, s := range e.Served() {
			sum += s.TTFT
			count++
		}
	}
	if count != requests {
		t.Fatalf("%s: the engines have served %d requests of %d", policy, count, requests)
	}
	return sum / time.Duration(count)
}

// blind lists the policies that know nothing of prefixes.
var blind = []string{"round_robin", "random", "least_conn"}

// orderTie is the share by which a rival may come before kv_aware and count as
// equal.
const orderTie = 0.03

// orderRounds is the number of workloads in the comparison.
const orderRounds = 3

func orderWorkload(round int) []arrival { return mixedTraffic(uint64(round), orderSpan, 60, 120, 60) }

// TestOrderOfPolicies routes the workload of BenchmarkPolicies in virtual time,
// with the same decision code. kv_aware has the lowest mean time to first token,
// and the policies that know nothing of prefixes come behind all that do.
func TestOrderOfPolicies(t *testing.T) {
	if testing.Short() || harness.UnderRace {
		t.Skip("takes some seconds")
	}
	m := replay.DefaultModel()
	m.KVTokens, m.Chunk = orderKVTokens, orderChunk
	m.DecodeStep, m.DecodePerSequence = orderStep, orderStep/100
	names := orderPolicies()
	means := make([]time.Duration, len(names))
	for round := range orderRounds {
		trace := asTrace(t, orderWorkload(round))
		for i, name := range names {
			r, err := replay.Run(trace, &replay.Setup{Nodes: orderNodes, Model: m, Speed: 1, Seed: 1, KVAware: replay.DefaultKnowledge()}, name)
			if err != nil {
				t.Fatal(err)
			}
			means[i] += r.TTFT.Mean / orderRounds
		}
	}
	logMeans(t, names, means)
	for i, name := range names[1:] {
		mean := means[i+1]
		if float64(means[0]) > (1+orderTie)*float64(mean) {
			t.Errorf("kv_aware %v, %s %v", means[0], name, mean)
		}
		if slices.Contains(blind, name) || name == "session" { // which knows only the session
			continue
		}
		for k, other := range names {
			if slices.Contains(blind, other) && means[k] < mean {
				t.Errorf("%s %v, but %s %v", name, mean, other, means[k])
			}
		}
	}
}

// logMeans logs a table of mean times to first token.
func logMeans(t testing.TB, names []string, means []time.Duration) {
	t.Helper()
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for i, name := range names {
		fmt.Fprintf(w, "%s\t%d ms\n", name, means[i].Milliseconds())
	}
	w.Flush()
	t.Logf("mean time to first token\n%s", b.String())
}

// orderLag bounds the delay of requests, in the engines' time, in a run that
// counts: about as long as one of them takes under the better policies. Later
// ones arrive in bursts, and the run compares how well policies take those. Then
// the run is repeated at half the speed, which is half the work for the machine.
const orderLag = 300 * time.Millisecond

// BenchmarkPolicies routes the same requests with every policy of the replay,
// through a real gateway to live engines. It reports the mean time to first
// token of each, in the engines' simulated time.
func BenchmarkPolicies(b *testing.B) {
	names := orderPolicies()
	for b.Loop() {
		means := make([]time.Duration, len(names))
		for round := range orderRounds {
			all := orderWorkload(round)
			c := punctual(b, names, all)
			for i, name := range names {
				means[i] += c.mean(b, name, len(all)) / orderRounds
			}
		}
		logMeans(b, names, means)
		for i, name := range names {
			b.ReportMetric(float64(means[i].Milliseconds()), name+"-ttft-ms")
		}
	}
}

// punctual runs a contest at a speed at which requests are sent in time, or at
// the lowest speed.
func punctual(b *testing.B, names []string, all []arrival) *contest {
	b.Helper()
	for speed := orderSpeed; ; speed /= 2 {
		c := startContest(b, names, speed)
		lag := c.run(b, all)
		if lag <= orderLag || speed == 1 {
			if lag > orderLag {
				b.Logf("the machine is too busy: a tenth of the requests was sent %v late, or more", lag)
			}
			return c
		}
	}
}

// TestRivalsRoute routes a few requests with all policies at once, so that the
// benchmark above stays able to run. Those that look at prefixes find more in
// the caches than round robin does.
func TestRivalsRoute(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	names := orderPolicies()
	all := mixedTraffic(7, 6*time.Second, 6, 16, 4)
	c := startContest(t, names, orderSpeed)
	c.run(t, all)
	for _, name := range names {
		c.mean(t, name, len(all)) // all were served
	}
	for _, name := range []string{"kv_aware", "dynamo", "llm_d", "cache_aware", "prefixaware"} {
		ours, theirs := harness.HitRate(c.engines[name]), harness.HitRate(c.engines["round_robin"])
		if ours <= theirs {
			t.Errorf("%s: hit rate %.2f, round_robin %.2f: it does not remember where it sent what", name, ours, theirs)
		}
	}
}
