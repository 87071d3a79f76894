// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"

	"github.com/bauxite/caddy-kvaware/radixcache"
)

func TestATruncatedPromptIsHeldAsFarAsSent(t *testing.T) {
	rt, _ := newTestRouter()
	send := func(text string, tokens int, confirm bool) Decision {
		r := rt.NewRequest(Prompt{Chain: chainOf(text), Tokens: tokens, BlockTokens: 64, Truncated: true, Stream: true})
		d := r.Route(a("n"), false)
		if confirm {
			r.Confirm()
			r.FirstToken()
			r.Reported(tokens, 1)
			r.Reported(tokens, 0)
		}
		r.End()
		return d
	}
	send("ab", 5000, false) // never accepted
	if d := send("ab", 3000, true); d.Cached != 0 {
		t.Fatalf("the first time %d tokens are cached", d.Cached)
	}
	if d := send("ab", 4000, true); d.Cached != 3000 {
		t.Fatalf("%d tokens cached of 3,000 sent before", d.Cached)
	}
	if d := send("ab", 3500, true); d.Cached != 3499 {
		t.Fatalf("%d tokens cached, want all but the last", d.Cached)
	}
	if d := send("abc", 6000, true); d.Cached != 2*64 {
		t.Fatalf("%d tokens cached of another prompt with the same start", d.Cached)
	}
	for range 10 {
		send("ab", 100_000, true)
	}
	if u := rt.Upstreams()[0]; u.Capacity != 0 {
		t.Errorf("cut prompts taught a capacity of %d", u.Capacity)
	}
}

func TestTruncatedPromptsAreBounded(t *testing.T) {
	var c truncatedPrompts
	for i := range 3 * maxTruncatedPrompts {
		c.add(radixcache.Upstream(1), []uint64{uint64(i)}, i)
	}
	if len(c.longest) != maxTruncatedPrompts || len(c.order) != maxTruncatedPrompts {
		t.Fatalf("%d remembered, %d in order", len(c.longest), len(c.order))
	}
	if got := c.tokens(1, []uint64{3*maxTruncatedPrompts - 1}); got != 3*maxTruncatedPrompts-1 {
		t.Errorf("the latest: %d", got)
	}
	if got := c.tokens(1, []uint64{0}); got != 0 {
		t.Errorf("the oldest: %d", got)
	}
}
