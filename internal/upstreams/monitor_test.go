// SPDX-License-Identifier: Apache-2.0

package upstreams

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
	"github.com/bauxite/caddy-kvaware/internal/kvindex"
	"github.com/bauxite/caddy-kvaware/internal/routing"
)

// pages answers for engines: a body by address and path, 404 without.
type pages struct {
	mu     sync.Mutex
	bodies map[string]string
	asked  []string
}

func (p *pages) RoundTrip(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, r.URL.String())
	body, ok := p.bodies[r.URL.Host+r.URL.Path]
	answer := &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(body))}
	if !ok {
		answer.StatusCode = http.StatusNotFound
	}
	return answer, nil
}

func (p *pages) set(url, body string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bodies[url] = body
}

// engineTest is a Monitor over engines that answer from memory, in virtual time.
type engineTest struct {
	*Monitor
	subscriber *Subscriber
	pages      *pages
	addresses  []string
}

func testEngines(t *testing.T, bodies map[string]string, addresses []string, test func(e *engineTest)) {
	synctest.Test(t, func(t *testing.T) {
		e := &engineTest{
			subscriber: &Subscriber{MetricsPath: "/metrics"},
			pages:      &pages{bodies: bodies},
			addresses:  addresses,
		}
		e.Monitor = NewMonitor(routing.New(2_000_000, time.Now), Options{Now: time.Now, Transport: e.pages})
		defer e.Close()
		test(e)
	})
}

// refresh names the upstreams, and lets the engines be asked.
func (e *engineTest) refresh() {
	e.Refresh(e.subscriber, e.addresses)
	synctest.Wait()
}

// sendPrompt makes the router believe that an upstream holds a prompt.
func (e *engineTest) sendPrompt(address string, chain ...uint64) {
	r := e.router.NewRequest(routing.Prompt{Chain: chain, Tokens: 1000, BlockTokens: 64})
	r.Route([]routing.Candidate{{Address: address}}, false)
	r.Confirm()
	r.End()
}

// known holds the figures of one upstream.
type known struct {
	Capacity       int64
	CapacitySource string
	Engine         *Report
}

func (e *engineTest) known(t *testing.T, address string) known {
	t.Helper()
	for _, u := range e.router.Upstreams() {
		if u.Address == address {
			return known{u.Capacity, e.CapacitySource(address, u.Capacity), e.Report(address)}
		}
	}
	t.Fatalf("nothing is known of %s", address)
	return known{}
}

func vllmSays(running, waiting, blocks int, started float64) string {
	return fmt.Sprintf("process_start_time_seconds %v\nvllm:num_requests_running %d\nvllm:num_requests_waiting %d\nvllm:kv_cache_usage_perc 0.5\n"+
		"vllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"%d\"} 1\n", started, running, waiting, blocks)
}

// TestExternalCachesReachTheRouter: an engine that has loaded tokens from outside its GPU
// still has them when its GPU has lost them.
func TestExternalCachesReachTheRouter(t *testing.T) {
	const external = "vllm:external_prefix_cache_hits_total 64\n"
	testEngines(t, map[string]string{"a:1/metrics": vllmSays(0, 0, 1000, 100), "b:1/metrics": vllmSays(0, 0, 1000, 100) + external}, []string{"a:1", "b:1"}, func(e *engineTest) {
		e.refresh()
		for address, want := range map[string]bool{"a:1": false, "b:1": true} {
			chain := []uint64{1, 2, 3, 4, 5, 6, 7, 8}
			e.sendPrompt(address, chain...)
			e.router.CacheLost(address)
			r := e.router.NewRequest(routing.Prompt{Chain: chain, Tokens: 1000, BlockTokens: 64})
			if d := r.Route([]routing.Candidate{{Address: address}}, false); (d.External > 0) != want {
				t.Errorf("%s: %+v", address, d)
			}
			r.End()
		}
		if prompts := e.Prompts(); len(prompts) != 1 || prompts["b:1"].External != 64 {
			t.Errorf("%+v", prompts)
		}
	})
}

func TestReportsReachTheRouter(t *testing.T) {
	testEngines(t, map[string]string{
		"a:1/metrics":   vllmSays(4, 3, 1000, 100),
		"a:1/v1/models": `{"data":[{"id":"m"},{"id":"n"}]}`,
	}, []string{"a:1", "b:1"}, func(e *engineTest) {
		e.refresh()
		got := e.known(t, "a:1")
		if got.Capacity != 16000 || got.CapacitySource != "metrics" || got.Engine == nil {
			t.Fatalf("%+v", got)
		}
		if g := got.Engine; g.Kind != "vllm" || *g.Running != 4 || *g.Waiting != 3 || *g.KVUsage != 0.5 || *g.ReadAgo != 0 || g.Models != 2 || g.Failure != "" {
			out, _ := json.Marshal(g)
			t.Fatalf("%s", out)
		}
		e.sendPrompt("b:1", 1)
		if b := e.known(t, "b:1"); b.Capacity != 0 || b.CapacitySource != "" || b.Engine.Failure == "" || b.Engine.ReadAgo != nil {
			t.Fatalf("%+v", b)
		}

		// A configured capacity counts, and the engine's own again without.
		e.subscriber.Capacity = 5000
		time.Sleep(time.Second) // virtual
		e.refresh()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := e.known(t, "a:1"); got.Capacity != 5000 || got.CapacitySource != "config" {
			t.Fatalf("%+v", got)
		}
		if got := e.known(t, "b:1"); got.Capacity != 5000 || got.CapacitySource != "config" {
			t.Fatalf("%+v", got)
		}
		e.subscriber.Capacity = 0
		e.refresh()
		if got := e.known(t, "a:1"); got.Capacity != 16000 || got.CapacitySource != "metrics" {
			t.Fatalf("%+v", got)
		}
		if got := e.known(t, "b:1"); got.Capacity != 0 {
			t.Fatalf("%+v", got)
		}
	})
}

func TestARestartedEngineIsForgotten(t *testing.T) {
	testEngines(t, map[string]string{"a:1/metrics": vllmSays(0, 0, 1000, 100)}, []string{"a:1"}, func(e *engineTest) {
		e.refresh()
		e.sendPrompt("a:1", 1, 2, 3)
		time.Sleep(5 * time.Second) // virtual
		synctest.Wait()
		if n := e.router.Stats().Blocks; n != 3 {
			t.Fatalf("%d blocks, want 3", n)
		}
		e.pages.set("a:1/metrics", vllmSays(0, 0, 1000, 160))
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if n := e.router.Stats().Blocks; n != 0 {
			t.Fatalf("%d blocks after the restart", n)
		}
	})
}

// An engine that sleeps has discarded its KV cache. What it holds when it is awake
// again is not forgotten.
func TestASleepingEngineIsForgotten(t *testing.T) {
	const asleep = "vllm:engine_sleep_state{sleep_state=\"weights_offloaded\"} %d\n"
	awake := vllmSays(0, 0, 1000, 100) + fmt.Sprintf(asleep, 0)
	testEngines(t, map[string]string{"a:1/metrics": awake}, []string{"a:1"}, func(e *engineTest) {
		e.refresh()
		e.sendPrompt("a:1", 1, 2, 3)
		holds := func(when string, want int) {
			t.Helper()
			e.refresh()
			time.Sleep(5 * time.Second) // virtual
			synctest.Wait()
			if n := e.router.Stats().Blocks; n != want {
				t.Errorf("%s: %d blocks, want %d", when, n, want)
			}
			if got := e.known(t, "a:1").Engine.Asleep; got != strings.HasPrefix(when, "asleep") {
				t.Errorf("%s: asleep is %v", when, got)
			}
		}
		holds("awake", 3)
		e.pages.set("a:1/metrics", vllmSays(0, 0, 1000, 100)+fmt.Sprintf(asleep, 1))
		holds("asleep", 0)
		e.sendPrompt("a:1", 4)
		holds("asleep with a prompt that waits", 1)
		e.pages.set("a:1/metrics", awake)
		holds("awake again", 1)
	})
}

// An idle engine whose prefix cache was reset holds nothing, and publishes that only
// with its next step.
func TestAResetEngineIsForgotten(t *testing.T) {
	page := func(resets int) string {
		return vllmSays(0, 0, 1000, 100) + "vllm:prompt_tokens_total 1000\n" +
			fmt.Sprintf("http_requests_total{handler=\"/reset_prefix_cache\",method=\"POST\",status=\"2xx\"} %d\n", resets)
	}
	testEngines(t, map[string]string{"a:1/metrics": page(1)}, []string{"a:1"}, func(e *engineTest) {
		feed := e.router.Index().Feed("a:1")
		feed.SetKnowledge(kvevents.Complete)
		e.router.Follow("a:1", routing.Feeds{Ranks: []*kvindex.Feed{feed}})
		e.refresh()
		for _, c := range []struct{ resets, blocks int }{{1, 4}, {2, 0}, {2, 4}, {4, 0}} {
			e.sendPrompt("a:1", 1, 2, 3)
			if !feed.Apply(&kvevents.Event{Kind: kvevents.Stored, Root: true, Hashes: []uint64{1}, Tokens: make([]uint32, 16), BlockSize: 16}) {
				t.Fatal("an event could not be used")
			}
			e.pages.set("a:1/metrics", page(c.resets))
			e.refresh()
			time.Sleep(5 * time.Second) // virtual
			synctest.Wait()
			if n := e.router.Stats().Blocks; n != c.blocks {
				t.Errorf("%d resets: %d blocks, want %d", c.resets, n, c.blocks)
			}
		}
	})
}

// A queue that this gateway did not send makes an engine busy, until the engine
// no longer reports it.
func TestForeignLoadReachesTheRouter(t *testing.T) {
	testEngines(t, map[string]string{"a:1/metrics": vllmSays(4, 3, 1000, 100)}, []string{"a:1", "b:1"}, func(e *engineTest) {
		e.refresh()
		pick := func() int {
			r := e.router.NewRequest(routing.Prompt{Tokens: 1000, BlockTokens: 64})
			defer r.End()
			return r.Route([]routing.Candidate{{Address: "a:1"}, {Address: "b:1"}}, false).Pick
		}
		if pick() != 1 {
			t.Fatal("the engine with others' requests was picked")
		}
		e.pages.set("a:1/metrics", vllmSays(0, 0, 1000, 100))
		time.Sleep(5 * time.Second) // virtual
		synctest.Wait()
		if pick() != 0 {
			t.Fatal("an engine that is idle again was not picked")
		}
	})
}

func TestWhichUpstreamsAreAsked(t *testing.T) {
	bodies := map[string]string{"a:1/metrics": vllmSays(0, 0, 1, 1), "a:1/own": vllmSays(0, 0, 1, 1)}
	dials := []string{"a:1", "unix//run/engine.sock", "c:1-3", "c:0", ":80", "tcp/d:1", "{http.vars.nobody}:1", "e@x:1"}
	testEngines(t, bodies, dials, func(e *engineTest) {
		e.subscriber.MetricsPath = "/own"
		e.refresh()
		slices.Sort(e.pages.asked)
		if got := strings.Join(e.pages.asked, " "); got != "http://a:1/own http://a:1/v1/models" {
			t.Fatalf("asked %s", got)
		}
	})
	testEngines(t, bodies, dials, func(e *engineTest) {
		e.subscriber.MetricsPath, e.subscriber.Capacity = "", 100
		e.refresh()
		if len(e.pages.asked) != 0 {
			t.Fatalf("asked %q though metrics are off", e.pages.asked)
		}
		if got := e.known(t, "a:1"); got.Capacity != 100 || got.CapacitySource != "config" || got.Engine != nil {
			t.Fatalf("%+v", got)
		}
	})
}
