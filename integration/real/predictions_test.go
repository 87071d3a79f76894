// SPDX-License-Identifier: Apache-2.0

//go:build real

package real

import (
	"math/rand/v2"
	"net/http"
	"testing"

	"github.com/bauxite/caddy-kvaware/integration/harness"
)

// The prediction error that is acceptable, as a share of the prompt tokens.
const (
	mostWithEvents  = 0.01
	mostInEviction  = 0.02
	mostFromHistory = 0.03
	mostWithLMCache = 0.03
)

// resetCache drops an engine's whole KV cache.
func resetCache(t *testing.T, e *engine) {
	t.Helper()
	if a := post(t, e.url(), "/reset_prefix_cache", ""); a.Status != http.StatusOK {
		t.Fatalf("resetting the cache: status %d: %.300s", a.Status, a.Body)
	}
	read(t, post(t, e.url(), "/v1/completions", object("model", "tiny", "prompt", "x", "max_tokens", 1))) // publishes it
}

// judge adds the figures to the document and checks the error.
func (s *suite) judge(t *testing.T, what string, f figures, most float64) {
	t.Helper()
	s.seen("prediction error "+what, "%v", &f)
	if f.share() > most {
		t.Errorf("the error %s is %.2f %%, want at most %.0f %%", what, 100*f.share(), 100*most)
	}
	if f.cold == f.requests {
		t.Errorf("all requests were cold: this proves nothing")
	}
}

func (s *suite) predictWithEvents(t *testing.T) {
	resetCache(t, s.wide)
	g := gateway(t, []*engine{s.wide}, followEvents())
	s.judge(t, "with events, 8 conversations of 9 turns, blocks of 32", converse(t, g, 1, 9, nil), mostWithEvents)
}

func (s *suite) predictFromHistory(t *testing.T) {
	resetCache(t, s.wide)
	g := gateway(t, []*engine{s.wide})
	s.judge(t, "from own history, the same", converse(t, g, 2, 9, nil), mostFromHistory)
	s.capacity(t, g)
}

// capacity checks, after many conversations, that the capacity which an engine
// reports was not doubted: it has evicted nothing.
func (s *suite) capacity(t *testing.T, g *harness.Gateway) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(15, 15))
	var bodies []string
	for range 40 {
		bodies = append(bodies, chat("tiny", words(rnd, 600)))
		read(t, g.Post(t, harness.ChatPath, bodies[len(bodies)-1]))
	}
	converse(t, g, 5, 4, nil)
	for _, body := range bodies {
		if a := read(t, g.Post(t, harness.ChatPath, body)); a.predicted < 500 || a.cached < 500 {
			t.Errorf("of %d tokens, %d were predicted to be cached and %d were", a.prompt, a.predicted, a.cached)
		}
	}
	u := harness.Upstreams(t)[s.wide.address()]
	if u.CapacitySource != "metrics" || u.Capacity < 400_000 {
		t.Errorf("the capacity is %d (%s)", u.Capacity, u.CapacitySource)
	}
	s.seen("the capacity that the engine reports, after 264 prompts of which it has evicted none", "%d tokens, still believed; all 40 prompts of long before are predicted to be cached, and are", u.Capacity)
}

// predictWithLMCache loses the GPU's blocks and those in LMCache's memory now and
// then: what is cached comes from the GPU, from memory and from disk.
func (s *suite) predictWithLMCache(t *testing.T) {
	resetCache(t, s.offloading)
	g := gateway(t, []*engine{s.offloading}, followEvents(), "lmcache "+s.lmcache.url())
	n := 0
	f := converse(t, g, 3, 6, func() {
		if n++; n%7 == 0 {
			resetCache(t, s.offloading)
			settle(t)
		}
		if n%11 == 0 {
			s.lmcache.clearMemory(t)
		}
	})
	s.judge(t, "with LMCache and events; the GPU's cache is reset before each 7th request, LMCache's memory cleared before each 11th; blocks of 64", f, mostWithLMCache)
	if external := harness.Metric(t, "caddy_kv_aware_predicted_external_tokens_total"); external == 0 {
		t.Errorf("nothing was predicted to come from LMCache")
	}
}
