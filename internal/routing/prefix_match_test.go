// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
)

func TestEventsCountAsFarAsTheyReach(t *testing.T) {
	rt, _ := newTestRouter()
	rt.link(t, "abcdefgh")
	rt.recordSentTo("one", "abcd")
	r := rt.followedRequest("abcdefgh")
	wantMatch(t, r, "one", prefixMatch{tokens: 256, weighted: 256})

	feed := rt.followRanks("one", 1)[0]
	publish(t, feed, kvevents.GPU, idsOf("ab"))
	for _, c := range []struct {
		known kvevents.Knowledge
		want  prefixMatch
	}{
		{kvevents.Complete, prefixMatch{tokens: 128, weighted: 128, byEvents: true}}, // the rest was evicted
		{kvevents.Partial, prefixMatch{tokens: 256, weighted: 256}},                  // it may be there
		{kvevents.Unknown, prefixMatch{tokens: 256, weighted: 256}},
	} {
		feed.SetKnowledge(c.known)
		wantMatch(t, r, "one", c.want)
	}

	publish(t, feed, kvevents.GPU, idsOf("abcdef")) // served for other clients
	for known, want := range map[kvevents.Knowledge]prefixMatch{
		kvevents.Complete: {tokens: 384, weighted: 384, byEvents: true},
		kvevents.Partial:  {tokens: 384, weighted: 384, byEvents: true},
		kvevents.Unknown:  {tokens: 256, weighted: 256},
	} {
		feed.SetKnowledge(known)
		wantMatch(t, r, "one", want)
	}
	feed.SetKnowledge(kvevents.Complete)
	publish(t, feed, kvevents.GPU, idsOf("abcdefgh"))
	wantMatch(t, r, "one", prefixMatch{tokens: 496, weighted: 496, byEvents: true}) // the last block is computed
	wantMatch(t, rt.followedRequest("xbcd"), "one", prefixMatch{byEvents: true})

	rt.Unfollow("one", feed)
	wantMatch(t, r, "one", prefixMatch{tokens: 256, weighted: 256})
}

// Where a text is not linked to its tokens, the prompts sent there count.
func TestUnlinkedTextCountsAsSent(t *testing.T) {
	rt, _ := newTestRouter()
	rt.link(t, "ab")
	feed := rt.followRanks("one", 1)[0]
	publish(t, feed, kvevents.GPU, idsOf("abcd"))
	rt.recordSentTo("one", "abcd")
	r := rt.followedRequest("abcdef")
	wantMatch(t, r, "one", prefixMatch{tokens: 256, weighted: 256})
	if r.TokensKnown() {
		t.Error("the tokens of the whole prompt count as known")
	}
	rt.link(t, "abcdef")
	wantMatch(t, r, "one", prefixMatch{tokens: 256, weighted: 256, byEvents: true})
	if !r.TokensKnown() || r.NeedsTokens(a("one")) {
		t.Error("the tokens of the prompt count as unknown")
	}
	if !rt.followedRequest("abx").NeedsTokens(a("one")) || rt.followedRequest("abx").NeedsTokens(a("nobody follows")) {
		t.Error("NeedsTokens is wrong")
	}
}

// An engine takes whole blocks from its cache, and never the last token.
func TestTheEndOfAPromptIsComputed(t *testing.T) {
	rt, _ := newTestRouter()
	rt.link(t, "abcd")
	publish(t, rt.followRanks("one", 1)[0], kvevents.GPU, idsOf("abcd"))
	r := rt.followedRequest("abcd")
	r.router.mu.Lock()
	defer r.router.mu.Unlock()
	r.evaluate(a("one"))
	for prompt, want := range map[int]int{257: 256, 256: 240, 255: 240, 241: 240, 240: 224} {
		r.promptTokens = prompt
		if got := r.eventMatch(rt.upstreams["one"]).tokens; got != want {
			t.Errorf("it holds all %d tokens, %d are predicted, want %d", prompt, got, want)
		}
	}
}

// A prompt under prefill counts before its events come.
func TestPromptsUnderPrefillCount(t *testing.T) {
	rt, _ := newTestRouter()
	rt.link(t, "abcdef")
	publish(t, rt.followRanks("one", 1)[0], kvevents.GPU, idsOf("x"))
	first := rt.followedRequest("abcd")
	first.Route(a("one"), false)
	r := rt.followedRequest("abcdef")
	wantMatch(t, r, "one", prefixMatch{tokens: 256, weighted: 256, byEvents: true})
	wantMatch(t, rt.followedRequest("abxy"), "one", prefixMatch{tokens: 128, weighted: 128, byEvents: true})
	first.Confirm()
	first.FirstToken() // by now the events would be here
	wantMatch(t, r, "one", prefixMatch{byEvents: true})
	first.End()

	for i := range 2 * maxPrefilling {
		rt.followedRequest(string(rune('A'+i))).Route(a("one"), false)
	}
	if n := len(rt.upstreams["one"].followed.prefilling); n != maxPrefilling {
		t.Errorf("%d prompts are looked at", n)
	}
}
