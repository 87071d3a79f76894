// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

// upstreamView is what the admin API tells of an upstream, as far as these
// tests look at it.
type upstreamView struct {
	Address        string
	Capacity       int64
	CapacitySource string `json:"capacity_source"`
	Engine         struct {
		Kind    string
		ReadAgo *float64 `json:"read_seconds_ago"`
		Failure string
		Refused bool
		Running int
		Waiting int
		Models  int
	}
}

// viewUpstream asks the admin API for an engine; what is not known is zero.
func viewUpstream(t testing.TB, e *enginesim.Engine) upstreamView {
	t.Helper()
	var all []upstreamView
	_, answer := askAdmin(t, http.MethodGet, "/kv_aware/upstreams", "")
	if err := json.Unmarshal([]byte(answer), &all); err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	for _, v := range all {
		if v.Address == e.Addr() {
			return v
		}
	}
	return upstreamView{}
}

// awaitReading returns once the engine's metrics have been read anew.
func awaitReading(t *testing.T, e *enginesim.Engine) {
	t.Helper()
	since := time.Now()
	eventually(t, "metrics of "+e.Addr()+" are read", func() bool {
		ago := viewUpstream(t, e).Engine.ReadAgo
		return ago != nil && time.Duration(*ago*float64(time.Second)) < time.Since(since)
	})
}

// ask is a chat request for a short answer.
func ask(model, text string, stream bool, tokens int) string {
	body, err := json.Marshal(map[string]any{
		"model": model, "stream": stream, "max_tokens": tokens,
		"messages": []map[string]string{{"role": "user", "content": text}},
	})
	if err != nil {
		panic(err)
	}
	return string(body)
}

// document returns a text of some thousand tokens that starts like no other.
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

func (g *gateway) must(t *testing.T, body string) {
	t.Helper()
	if answer := g.post(t, "/v1/chat/completions", body); answer.status != http.StatusOK {
		t.Fatalf("status %d: %.300s", answer.status, answer.body)
	}
}

// What an engine tells of itself is known a moment after the first request.
func TestEnginesAreRead(t *testing.T) {
	engines := startEngines(t, 2, enginesim.Config{Speed: 50, CacheBlocks: 500, Models: []string{"sim"}})
	g := startGateway(t, "caddyfile", fmt.Sprintf(loadSite, addresses(engines)))
	g.must(t, chat("hello", false))
	for _, e := range engines {
		eventually(t, "capacity and models are known", func() bool {
			v := viewUpstream(t, e)
			return v.Capacity == 500*16 && v.CapacitySource == "metrics" && v.Engine.Kind == "vllm" && v.Engine.Models == 1
		})
	}
	g.reload(t, "caddyfile", strings.Replace(fmt.Sprintf(loadSite, addresses(engines)), "kv_aware", "kv_aware {\n capacity 123456\n }", 1))
	g.must(t, chat("hello", false))
	for _, e := range engines {
		eventually(t, "the configured capacity counts", func() bool {
			v := viewUpstream(t, e)
			return v.Capacity == 123456 && v.CapacitySource == "config"
		})
	}
}

// Another gateway's requests queue at the engine that holds the prompt: ours
// goes elsewhere, and comes back when they are gone.
func TestForeignLoad(t *testing.T) {
	engines := startEngines(t, 2, enginesim.Config{Speed: 4, MaxBatch: 2, OutputTokens: 4000})
	g := startGateway(t, "caddyfile", fmt.Sprintf(loadSite, addresses(engines)))
	question := ask("sim", document("one"), true, 2)
	g.must(t, question)
	if engines[0].Stats().Requests != 1 {
		t.Fatal("of two equal engines the first was not picked")
	}

	ctx, cancel := context.WithCancel(t.Context())
	var others sync.WaitGroup
	for i := range 12 {
		others.Go(func() {
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, engines[0].URL()+"/v1/chat/completions",
				strings.NewReader(ask("sim", fmt.Sprint("someone else's request ", i), false, 4000)))
			if err != nil {
				t.Error(err)
				return
			}
			if answer, err := g.client.Do(r); err == nil {
				answer.Body.Close()
			}
		})
	}
	defer others.Wait()
	defer cancel()
	eventually(t, "the queue is seen", func() bool { return viewUpstream(t, engines[0]).Engine.Waiting >= 8 })
	g.must(t, question)
	if n := engines[1].Stats().Requests; n != 1 {
		t.Fatalf("the prompt waited behind a queue of others: the idle engine got %d requests", n)
	}

	cancel()
	others.Wait()
	eventually(t, "the queue is gone", func() bool {
		v := viewUpstream(t, engines[0])
		return v.Engine.Running == 0 && v.Engine.Waiting == 0
	})
	before := engines[0].Stats().Requests
	g.must(t, ask("sim", document("one")+document("two"), true, 2))
	g.must(t, ask("sim", document("one")+document("three"), true, 2))
	if engines[0].Stats().Requests == before {
		t.Fatal("the engine is not used again")
	}
}

// An engine that crashes has lost its cache: nothing of it counts when it is
// back, and in between requests go elsewhere.
func TestCrashedEngineIsForgotten(t *testing.T) {
	logLines.reset()
	engines := startEngines(t, 2, enginesim.Config{Speed: 50})
	g := startGateway(t, "caddyfile", fmt.Sprintf(loadSite, addresses(engines)))
	first := chat(document("one"), false)
	second := chat(document("one")+document("more of one"), false)
	g.must(t, first)
	g.must(t, second)
	if n := engines[0].Stats().Requests; n != 2 {
		t.Fatalf("the first engine got %d of the 2 requests", n)
	}
	blocks := metric(t, "caddy_kv_aware_tree_blocks")

	if err := engines[0].Fault(enginesim.Fault{Kind: enginesim.Crash}); err != nil {
		t.Fatal(err)
	}
	g.must(t, first) // refused at the first, goes to the second
	eventually(t, "the refusal is seen", func() bool { return viewUpstream(t, engines[0]).Engine.Refused })
	if now := metric(t, "caddy_kv_aware_tree_blocks"); now != blocks {
		t.Fatalf("%v blocks while it is gone, %v before: it may yet be the same process", now, blocks)
	}
	if err := engines[0].Heal(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what it held is forgotten", func() bool { return metric(t, "caddy_kv_aware_tree_blocks") < blocks })
	if !strings.Contains(logLines.String(), "the engine was restarted") {
		t.Fatal("nothing says that it was forgotten")
	}
	if viewUpstream(t, engines[0]).Engine.Refused {
		t.Fatal("it still counts as gone")
	}
	g.must(t, second)
	if cached := engines[1].Stats().CachedTokens; cached == 0 {
		t.Fatal("the prompt went to the engine that has lost its beginning")
	}
}

// A restart that nobody was refused by is told by the engine's counters.
func TestQuickRestartIsNoticed(t *testing.T) {
	engines := startEngines(t, 1, enginesim.Config{Speed: 50})
	g := startGateway(t, "caddyfile", fmt.Sprintf(loadSite, addresses(engines)))
	g.must(t, chat(document("one"), false))
	awaitReading(t, engines[0])
	if metric(t, "caddy_kv_aware_tree_blocks") == 0 {
		t.Fatal("nothing was recorded")
	}
	engines[0].Reset()
	eventually(t, "what it held is forgotten", func() bool { return metric(t, "caddy_kv_aware_tree_blocks") == 0 })
}

// A request for a model goes to an engine that has it. One that nobody has
// goes to any, for the engine to refuse.
func TestModelsThatOnlySomeEnginesHave(t *testing.T) {
	var engines []*enginesim.Engine
	for _, models := range [][]string{{"base"}, {"base", "adapter"}} {
		engines = append(engines, startEngines(t, 1, enginesim.Config{Speed: 50, Models: models})...)
	}
	g := startGateway(t, "caddyfile", fmt.Sprintf(loadSite, addresses(engines)))
	g.must(t, ask("base", "hello", false, 2))
	for i, e := range engines {
		eventually(t, "its models are known", func() bool { return viewUpstream(t, e).Engine.Models == i+1 })
	}
	before := engines[0].Stats().Requests
	for i := range 6 {
		g.must(t, ask("adapter", document(fmt.Sprint("number ", i)), false, 2))
		embed := fmt.Sprintf(`{"model":"adapter","input":"text %d"}`, i) // no signature: the fallback picks
		if answer := g.post(t, "/v1/embeddings", embed); answer.status != http.StatusOK {
			t.Fatalf("embeddings: status %d", answer.status)
		}
	}
	if n := engines[0].Stats().Requests - before; n != 0 {
		t.Fatalf("%d requests went to the engine without the adapter", n)
	}
	if answer := g.post(t, "/v1/chat/completions", ask("unheard-of", "hello", false, 2)); answer.status != http.StatusNotFound {
		t.Fatalf("a model that nobody has: status %d, want the engine's 404", answer.status)
	}
}

// Engines that never answer when asked for metrics delay nobody, and do not
// keep Caddy from stopping.
func TestEngineThatHangsWhenAsked(t *testing.T) {
	engines := startEngines(t, 2, enginesim.Config{Speed: 50})
	for _, e := range engines {
		if err := e.Fault(enginesim.Fault{Kind: enginesim.Hang, Path: "/metrics"}, enginesim.Fault{Kind: enginesim.Hang, Path: "/v1/models"}); err != nil {
			t.Fatal(err)
		}
	}
	g := startGateway(t, "caddyfile", fmt.Sprintf(loadSite, addresses(engines)))
	text := document("one")
	for i := range 5 {
		g.must(t, chat(fmt.Sprint(text, i), false)) // they hang until they are healed: these are answered before
	}
	if n := engines[0].Stats().CachedTokens; n == 0 {
		t.Fatal("the prompts were not routed by what is cached")
	}
	eventually(t, "the time-out is noted", func() bool { return viewUpstream(t, engines[0]).Engine.Failure != "" })
}
