// SPDX-License-Identifier: Apache-2.0

//go:build real

package real

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
)

// names checks what the gateway reads from the engines' lists of models, and that the
// names of one model share what is known of prompts' tokens and of LMCache's blocks.
func (s *suite) names(t *testing.T) {
	g := gateway(t, []*engine{s.wide, s.offloading}, followEvents())
	rnd := rand.New(rand.NewPCG(12, 12))
	for _, e := range []*engine{s.wide, s.offloading} { // both have published blocks then
		read(t, post(t, e.url(), harness.ChatPath, chat("tiny", words(rnd, 300))))
	}
	ask(t, g, harness.ChatPath, chat("tiny", "Hello."))
	harness.Await(t, "both lists of models are read", func() bool {
		all := harness.Upstreams(t)
		return all[s.wide.address()].Engine.Models == 3 && all[s.offloading.address()].Engine.Models == 2
	})
	wide, offloading := kinOf(t, s.wide), kinOf(t, s.offloading)
	if want := `map[tiny-alias:tiny] map[tiny-lora:tiny]`; wide != want {
		t.Errorf("aliases and adapters: %s, want %s", wide, want)
	}
	if want := `map[tiny-alias:tiny] map[]`; offloading != want {
		t.Errorf("without adapters: %s, want %s", offloading, want)
	}
	text := words(rnd, 600)
	for name, want := range map[string]string{"tiny": "lineage , parent ", "tiny-alias": "lineage tiny, parent ", "tiny-lora": "lineage , parent tiny"} {
		if got := explained(t, chat(name, text), s.wide); got != want {
			t.Errorf("%s is explained as %q, want %q", name, got, want)
		}
	}
	ask(t, g, harness.ChatPath, chat("tiny-alias", text))
	fetched := tokensFetched(t)
	for _, name := range []string{"tiny", "tiny-alias"} {
		exactly(t, g, "known to both engines' lists as "+name, harness.ChatPath, chat(name, text), 500)
	}
	if now := tokensFetched(t); now != fetched {
		t.Errorf("the tokens of a known prompt were fetched %d times for another name", now-fetched)
	}
	s.seen("`--served-model-name tiny tiny-alias` and `--lora-modules` in `/v1/models`", "one lineage, an adapter with its parent; a prompt's tokens are fetched once for both names")
	s.stagedNames(t)
}

// stagedNames has prompts staged under another name than they were sent under first.
func (s *suite) stagedNames(t *testing.T) {
	t.Helper()
	const prompts = 3
	g := gateway(t, []*engine{s.offloading}, followEvents(), "lmcache "+s.lmcache.url()+" {\nwait 5s\n}")
	rnd := rand.New(rand.NewPCG(13, 13))
	var texts []string
	for range prompts {
		texts = append(texts, words(rnd, 1200))
		ask(t, g, harness.ChatPath, chat("tiny", texts[len(texts)-1]))
	}
	completed := func() int { return int(harness.ResultMetric(t, "caddy_kv_aware_staging_total", "completed")) }
	before, cached := completed(), 0
	resetCache(t, s.offloading)
	s.lmcache.clearMemory(t)
	harness.Await(t, "the gateway stops believing in the GPU's blocks", func() bool {
		cached, external := harness.Forecasts(t, chat("tiny-alias", texts[0]))
		return cached[s.offloading.address()] == external[s.offloading.address()]
	})
	for _, text := range texts {
		if a := ask(t, g, harness.ChatPath, chat("tiny-alias", text)); a.cached > a.prompt*9/10 {
			cached++
		}
	}
	harness.Soon(func() bool { return completed()-before >= prompts })
	if n := completed() - before; n < prompts || cached < prompts {
		t.Errorf("%d of %d stagings under another name completed, and %d prompts were found", n, prompts, cached)
	}
	s.seen("staging from disk under the second name", "%d of %d completed, %d of %d prompts were then found in LMCache", completed()-before, prompts, cached, prompts)
}

// kinOf returns an engine's aliases and adapters as the admin API shows them.
func kinOf(t *testing.T, e *engine) string {
	t.Helper()
	var report struct {
		Engine struct{ Aliases, Adapters map[string]string }
	}
	_, answer := harness.Admin(t, http.MethodGet, "/kv_aware/upstreams/"+e.address(), "")
	if err := json.Unmarshal([]byte(answer), &report); err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	return fmt.Sprint(report.Engine.Aliases, " ", report.Engine.Adapters)
}

// explained returns what explain says of the named model at an engine.
func explained(t *testing.T, body string, e *engine) string {
	t.Helper()
	var report struct {
		Upstreams []struct{ Address, Lineage, Parent string }
	}
	_, answer := harness.Admin(t, http.MethodPost, "/kv_aware/explain", body)
	if err := json.Unmarshal([]byte(answer), &report); err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	for _, u := range report.Upstreams {
		if u.Address == e.address() {
			return fmt.Sprintf("lineage %s, parent %s", u.Lineage, u.Parent)
		}
	}
	return "nothing"
}

// tokensFetched counts the prompts whose tokens were fetched from any engine.
func tokensFetched(t *testing.T) (n uint64) {
	t.Helper()
	for _, u := range harness.Upstreams(t) {
		n += u.Tokens.Fetched
	}
	return n
}
