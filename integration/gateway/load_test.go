// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// document returns a text of some thousand tokens that shares no prefix with the
// document of another name.
func document(name string) string {
	return "Document " + name + ". " + strings.Repeat("What "+name+" says about the matter. ", 300)
}

const loadSite = `:8080 {
	pii_janitor
	reverse_proxy %s {
		lb_policy kv_aware
		lb_retries 1
		lb_retry_match {
			method POST
		}
	}
}`

// The gateway reads an engine's metrics and models soon after the first request.
func TestEnginesAreRead(t *testing.T) {
	engines := harness.StartEngines(t, 2, enginesim.Config{Speed: 50, CacheBlocks: 500, Models: []string{"sim"}})
	g := harness.StartGateway(t, "caddyfile", fmt.Sprintf(loadSite, harness.Addresses(engines)))
	g.Must(t, harness.Chat("hello", false))
	for _, e := range engines {
		harness.Await(t, "capacity and models are known", func() bool {
			v := harness.Upstream(t, e)
			return v.Capacity == 500*16 && v.CapacitySource == "metrics" && v.Engine.Kind == "vllm" && v.Engine.Models == 1
		})
	}
	g.Reload(t, "caddyfile", strings.Replace(fmt.Sprintf(loadSite, harness.Addresses(engines)), "kv_aware", "kv_aware {\n capacity 123456\n }", 1))
	g.Must(t, harness.Chat("hello", false))
	for _, e := range engines {
		harness.Await(t, "the configured capacity counts", func() bool {
			v := harness.Upstream(t, e)
			return v.Capacity == 123456 && v.CapacitySource == "config"
		})
	}
}

// When another gateway's requests queue at the engine that holds a prompt, the
// prompt goes to the other engine. Once the queue is gone the engine is used again.
func TestForeignLoad(t *testing.T) {
	engines := harness.StartEngines(t, 2, enginesim.Config{Speed: 4, MaxBatch: 2, OutputTokens: 4000})
	g := harness.StartGateway(t, "caddyfile", fmt.Sprintf(loadSite, harness.Addresses(engines)))
	question := harness.Ask("sim", document("one"), true, 2)
	g.Must(t, question)
	if engines[0].Stats().Requests != 1 {
		t.Fatal("the first of two equal engines was not picked")
	}

	ctx, cancel := context.WithCancel(t.Context())
	var others sync.WaitGroup
	for i := range 12 {
		others.Go(func() {
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, engines[0].URL()+"/v1/chat/completions",
				strings.NewReader(harness.Ask("sim", fmt.Sprint("someone else's request ", i), false, 4000)))
			if err != nil {
				t.Error(err)
				return
			}
			if answer, err := g.Client.Do(r); err == nil {
				answer.Body.Close()
			}
		})
	}
	defer others.Wait()
	defer cancel()
	harness.Await(t, "the queue is seen", func() bool { return harness.Upstream(t, engines[0]).Engine.Waiting >= 8 })
	g.Must(t, question)
	if n := engines[1].Stats().Requests; n != 1 {
		t.Fatalf("the prompt waited in the queue of another gateway: the idle engine got %d requests, want 1", n)
	}

	cancel()
	others.Wait()
	harness.Await(t, "the queue is gone", func() bool {
		v := harness.Upstream(t, engines[0])
		return v.Engine.Running == 0 && v.Engine.Waiting == 0
	})
	before := engines[0].Stats().Requests
	g.Must(t, harness.Ask("sim", document("one")+document("two"), true, 2))
	g.Must(t, harness.Ask("sim", document("one")+document("three"), true, 2))
	if engines[0].Stats().Requests == before {
		t.Fatal("the engine is not used again")
	}
}

// An engine that crashed has lost its cache: the gateway forgets it once the
// engine is back. In between, requests go to the other engine.
func TestCrashedEngineIsForgotten(t *testing.T) {
	harness.Log.Reset()
	engines := harness.StartEngines(t, 2, enginesim.Config{Speed: 50})
	g := harness.StartGateway(t, "caddyfile", fmt.Sprintf(loadSite, harness.Addresses(engines)))
	first := harness.Chat(document("one"), false)
	second := harness.Chat(document("one")+document("more of one"), false)
	g.Must(t, first)
	g.Must(t, second)
	if n := engines[0].Stats().Requests; n != 2 {
		t.Fatalf("the first engine got %d of the 2 requests", n)
	}
	blocks := harness.Metric(t, "caddy_kv_aware_tree_blocks")

	if err := engines[0].Fault(enginesim.Fault{Kind: enginesim.Crash}); err != nil {
		t.Fatal(err)
	}
	g.Must(t, first) // the first engine refuses, the second answers
	harness.Await(t, "the refusal is seen", func() bool { return harness.Upstream(t, engines[0]).Engine.Refused })
	if now := harness.Metric(t, "caddy_kv_aware_tree_blocks"); now != blocks {
		t.Fatalf("%v blocks while the engine is gone, %v before: it may still be the same process", now, blocks)
	}
	if err := engines[0].Heal(); err != nil {
		t.Fatal(err)
	}
	harness.Await(t, "the engine's blocks are forgotten", func() bool { return harness.Metric(t, "caddy_kv_aware_tree_blocks") < blocks })
	if !strings.Contains(harness.Log.String(), "the engine was restarted") {
		t.Fatal("the log does not say that the engine was restarted")
	}
	if harness.Upstream(t, engines[0]).Engine.Refused {
		t.Fatal("the engine still counts as refusing")
	}
	g.Must(t, second)
	if cached := engines[1].Stats().CachedTokens; cached == 0 {
		t.Fatal("the prompt went to the engine that has lost its prefix")
	}
}

// The engine's counters show a restart during which no request was refused.
func TestQuickRestartIsNoticed(t *testing.T) {
	engines := harness.StartEngines(t, 1, enginesim.Config{Speed: 50})
	g := harness.StartGateway(t, "caddyfile", fmt.Sprintf(loadSite, harness.Addresses(engines)))
	g.Must(t, harness.Chat(document("one"), false))
	harness.AwaitMetricsRead(t, engines[0])
	if harness.Metric(t, "caddy_kv_aware_tree_blocks") == 0 {
		t.Fatal("nothing was recorded")
	}
	engines[0].Reset()
	harness.Await(t, "the engine's blocks are forgotten", func() bool { return harness.Metric(t, "caddy_kv_aware_tree_blocks") == 0 })
}

// A request goes to an engine that has its model. A request for a model that no
// engine has goes to any of them, which refuses it.
func TestModelsThatOnlySomeEnginesHave(t *testing.T) {
	var engines []*enginesim.Engine
	for _, models := range [][]string{{"base"}, {"base", "adapter"}} {
		engines = append(engines, harness.StartEngines(t, 1, enginesim.Config{Speed: 50, Models: models})...)
	}
	g := harness.StartGateway(t, "caddyfile", fmt.Sprintf(loadSite, harness.Addresses(engines)))
	g.Must(t, harness.Ask("base", "hello", false, 2))
	for i, e := range engines {
		harness.Await(t, "the engine's models are known", func() bool { return harness.Upstream(t, e).Engine.Models == i+1 })
	}
	before := engines[0].Stats().Requests
	for i := range 6 {
		g.Must(t, harness.Ask("adapter", document(fmt.Sprint("number ", i)), false, 2))
		embed := fmt.Sprintf(`{"model":"adapter","input":"text %d"}`, i) // no signature: the fallback picks
		if answer := g.Post(t, "/v1/embeddings", embed); answer.Status != http.StatusOK {
			t.Fatalf("embeddings: status %d", answer.Status)
		}
	}
	if n := engines[0].Stats().Requests - before; n != 0 {
		t.Fatalf("%d requests went to the engine without the adapter", n)
	}
	if answer := g.Post(t, "/v1/chat/completions", harness.Ask("unheard-of", "hello", false, 2)); answer.Status != http.StatusNotFound {
		t.Fatalf("a model that no engine has: status %d, want the engine's 404", answer.Status)
	}
}

// Engines that never answer requests for metrics delay no prompt, and do not keep
// Caddy from stopping.
func TestEngineThatHangsWhenAsked(t *testing.T) {
	engines := harness.StartEngines(t, 2, enginesim.Config{Speed: 50})
	for _, e := range engines {
		if err := e.Fault(enginesim.Fault{Kind: enginesim.Hang, Path: "/metrics"}, enginesim.Fault{Kind: enginesim.Hang, Path: "/v1/models"}); err != nil {
			t.Fatal(err)
		}
	}
	g := harness.StartGateway(t, "caddyfile", fmt.Sprintf(loadSite, harness.Addresses(engines)))
	text := document("one")
	for i := range 5 {
		g.Must(t, harness.Chat(fmt.Sprint(text, i), false)) // answered while the requests for metrics still hang
	}
	if n := engines[0].Stats().CachedTokens; n == 0 {
		t.Fatal("the prompts were not routed to their prefix")
	}
	harness.Await(t, "the timeout is reported", func() bool { return harness.Upstream(t, engines[0]).Engine.Failure != "" })
}
