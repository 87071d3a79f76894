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

// The engines of the comparison, live and in the replay: with them the fleet
// is busy two thirds of its time under the better policies.
const (
	orderNodes    = 4
	orderKVTokens = 60_000
	orderChunk    = 512
	orderStep     = 20 * time.Millisecond // of one decode, and a hundredth of it for each further one
	orderSpan     = 40 * time.Second

	// orderSpeed is how much faster than real time live engines and clients
	// run at first. What the gateway learns from is real time: it sees engines that
	// are so much faster, and has as much less time to learn.
	orderSpeed = 4
)

// orderPolicies are all that can be run: the last two of the replay are bounds.
func orderPolicies() []string {
	names, _ := replay.Policies()
	return names[:len(names)-2]
}

// contest is all policies side by side in one gateway, each in front of
// engines of its own, so that whatever else the machine does holds all of them
// up.
type contest struct {
	speed   int // see orderSpeed
	gateway *harness.Gateway
	engines map[string][]*enginesim.Engine // by policy
}

func startContest(t *testing.T, names []string, speed int) *contest {
	t.Helper()
	harness.Log.Reset()
	c := &contest{speed: speed, engines: make(map[string][]*enginesim.Engine)}
	var site strings.Builder
	for _, name := range names {
		engines := harness.StartEngines(t, orderNodes, enginesim.Config{
			// Few pieces in a stream: they are most of what the test costs.
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

// run sends every policy all requests at their times, and returns how late the
// latest tenth of them was sent, in engines' time.
func (c *contest) run(t *testing.T, all []arrival) (lag time.Duration) {
	t.Helper()
	lags := make([]time.Duration, len(all))
	var wg sync.WaitGroup
	failures := make(chan error, len(all)*len(c.engines))
	began := time.Now()
	for i := range all {
		at := began.Add(all[i].At / time.Duration(c.speed))
		time.Sleep(time.Until(at))
		lags[i] = time.Since(at) * time.Duration(c.speed)
		for name := range c.engines { // in any order
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

// loggedErrors returns what the gateway has logged of errors.
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
func (c *contest) mean(t *testing.T, policy string, requests int) time.Duration {
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

// replayedMean is the same in the replay.
func replayedMean(t *testing.T, policy string, trace *replay.Trace) time.Duration {
	t.Helper()
	m := replay.DefaultModel()
	m.KVTokens, m.Chunk = orderKVTokens, orderChunk
	m.DecodeStep, m.DecodePerSequence = orderStep, orderStep/100
	r, err := replay.Run(trace, &replay.Setup{Nodes: orderNodes, Model: m, Speed: 1, Seed: 1, KVAware: replay.DefaultKnowledge()}, policy)
	if err != nil {
		t.Fatal(err)
	}
	return r.TTFT.Mean
}

// blind are the policies that know nothing of prefixes.
var blind = []string{"round_robin", "random", "least_conn"}

// orderTie is by how much a rival may come before kv_aware and count as equal:
// requests that arrive together reach the engines in an order that no two runs
// share, and the means of two runs of one policy differ by a few percent.
const orderTie = 0.03

// orderLag is by how much requests may be late, in engines' time, for a round
// to count: about what one of them takes under the better policies. The engines
// live in real time, if in another scale. On a machine that has something else
// to do for as long, requests come in heaps, and what is compared is who gets
// along with those. Then it is done again at half the speed: that is half the
// work, and what the machine is late by is half as much to the engines.
const orderLag = 300 * time.Millisecond

// TestOrderOfPolicies has every policy of the replay route the same requests
// through a real gateway to live engines. In both kv_aware has the lowest mean
// time to first token, and what knows nothing of prefixes comes behind all that
// does. Times are the engines' own, simulated ones.
func TestOrderOfPolicies(t *testing.T) {
	if harness.UnderRace {
		t.Skip("times are compared without the race detector; TestRivalsRoute looks for races")
	}
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	names := orderPolicies()
	inReplay, overHTTP := make([]time.Duration, len(names)), make([]time.Duration, len(names))
	const rounds = 3
	for round := range rounds {
		all := mixedTraffic(uint64(round), orderSpan, 60, 120, 60)
		trace := asTrace(t, all)
		c := punctual(t, names, all)
		for i, name := range names {
			inReplay[i] += replayedMean(t, name, trace) / rounds
			overHTTP[i] += c.mean(t, name, len(all)) / rounds
		}
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "policy\tin the replay\tover HTTP\n")
	for i, name := range names {
		fmt.Fprintf(w, "%s\t%d ms\t%d ms\n", name, inReplay[i].Milliseconds(), overHTTP[i].Milliseconds())
	}
	w.Flush()
	t.Logf("mean time to first token\n%s", b.String())
	checkOrder(t, "in the replay", names, inReplay)
	checkOrder(t, "over HTTP", names, overHTTP)
}

// checkOrder takes names with kv_aware first.
func checkOrder(t *testing.T, where string, names []string, means []time.Duration) {
	t.Helper()
	for i, name := range names[1:] {
		mean := means[i+1]
		if float64(means[0]) > (1+orderTie)*float64(mean) {
			t.Errorf("%s: kv_aware %v, %s %v", where, means[0], name, mean)
		}
		if slices.Contains(blind, name) || name == "session" { // which knows no more than who asks
			continue
		}
		for k, other := range names {
			if slices.Contains(blind, other) && means[k] < mean {
				t.Errorf("%s: %s %v, but %s %v", where, name, mean, other, means[k])
			}
		}
	}
}

// punctual runs a contest at a speed at which requests are sent in time.
func punctual(t *testing.T, names []string, all []arrival) (c *contest) {
	t.Helper()
	for speed := orderSpeed; speed >= 1; speed /= 2 {
		late := false
		t.Run(fmt.Sprint("speed ", speed), func(t *testing.T) {
			c = startContest(t, names, speed)
			lag := c.run(t, all)
			if late = lag > orderLag; late {
				t.Logf("a tenth of the requests was sent %v late, or more", lag)
			}
		})
		if t.Failed() {
			t.FailNow()
		}
		if !late {
			return c
		}
	}
	t.Fatal("the machine is too busy to measure anything but itself")
	return nil
}

// TestRivalsRoute has all policies route a little at once: what the test above
// compares is shared state under load, and clean of races.
func TestRivalsRoute(t *testing.T) {
	names := orderPolicies()
	all := mixedTraffic(7, 6*time.Second, 6, 16, 4)
	c := startContest(t, names, orderSpeed)
	c.run(t, all)
	hits := make(map[string]float64)
	for _, name := range names {
		if mean := c.mean(t, name, len(all)); mean <= 0 {
			t.Errorf("%s: no time to first token", name)
		}
		hits[name] = measure(name, c.engines[name]).hitRate
	}
	for _, name := range []string{"kv_aware", "dynamo", "llm_d", "cache_aware", "prefixaware"} {
		if hits[name] <= hits["round_robin"] {
			t.Errorf("%s: hit rate %.2f, round_robin %.2f: it does not follow what was sent where", name, hits[name], hits["round_robin"])
		}
	}
}
