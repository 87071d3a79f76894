// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"sync"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
)

// clock is a virtual clock.
type clock struct{ t time.Time }

func newClock() *clock               { return &clock{epoch} }
func (c *clock) now() time.Time      { return c.t }
func (c *clock) add(d time.Duration) { c.t = c.t.Add(d) }

// chainOf makes a chain of block hashes from letters: equal letters from the
// start give equal hashes, as a real chain does.
func chainOf(text string) []uint64 {
	chain := make([]uint64, len(text))
	h := uint64(14695981039346656037)
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * 1099511628211
		chain[i] = h
	}
	return chain
}

func (rt *Router) newTestRequest(text string) *Request {
	return rt.NewRequest(Prompt{Chain: chainOf(text), Tokens: len(text)*64 + 1, BlockTokens: 64, Stream: true})
}

func newTestRouter() (*Router, *clock) {
	c := newClock()
	return New(1_000_000, c.now), c
}

func a(address string) []Candidate { return []Candidate{{Address: address}} }

func TestAnOldEpochIsNotRecorded(t *testing.T) {
	rt, _ := newTestRouter()
	r := rt.newTestRequest("abcd")
	r.Route(a("n"), false)
	if e := rt.Clear(); e != 1 {
		t.Fatalf("epoch %d after the first Clear", e)
	}
	r.Confirm()
	wantHolds(t, rt, "n", "abcd", 0)
	r.End()
	late := rt.newTestRequest("ab") // signed before, sent after
	if d := late.Route(a("n"), false); d.Reason != Cold || d.Pick != 0 {
		t.Fatalf("a request of an old epoch: %+v", d)
	}
	late.Confirm()
	late.End()
	wantHolds(t, rt, "n", "ab", 0)
}

func TestFirstTokenEndsTheWait(t *testing.T) {
	rt, c := newTestRouter()
	r := rt.newTestRequest("abcd")
	r.Route(a("n"), false)
	if w := rt.Upstreams()[0].Wait; w != prefill(257, startCost) {
		t.Fatalf("predicted wait %v, want the prefill of 257 tokens", w)
	}
	c.add(30 * time.Millisecond)
	ttft, ok := r.FirstToken()
	if !ok || ttft != 30*time.Millisecond {
		t.Fatalf("first token after %v, %v", ttft, ok)
	}
	if _, again := r.FirstToken(); again {
		t.Fatal("a second first token")
	}
	if u := rt.Upstreams()[0]; u.Wait != 0 || u.Requests != 1 {
		t.Fatalf("after the first token: %+v", u)
	}
	r.End()
	r.End()
	if u := rt.Upstreams()[0]; u.Requests != 0 {
		t.Fatalf("after the end: %+v", u)
	}
	if _, ok := r.FirstToken(); ok {
		t.Fatal("a first token after the end")
	}
	r.Confirm()
	wantHolds(t, rt, "n", "abcd", 0)
}

// With the race detector: Tokens and TokensKnown may be called while a further attempt
// is routed.
func TestRequestIsReadWhileItIsRouted(t *testing.T) {
	rt, _ := newTestRouter()
	rt.followRanks("n", 1)
	r := rt.followedRequest("abcd")
	var reader sync.WaitGroup
	reader.Go(func() {
		for range 1000 {
			if r.TokensKnown() || r.Tokens() < 1 {
				t.Error("the prompt's tokens are known, or it has none")
			}
		}
	})
	for range 1000 {
		r.Route(a("n"), false)
		r.End()
	}
	reader.Wait()
}

// Right after a start no upstream is followed yet, so no tokens are missing. They are
// to be fetched all the same, for the upstreams to come.
func TestTokensAreKnownOnlyOnceAnUpstreamIsFollowed(t *testing.T) {
	rt, _ := newTestRouter()
	r := rt.followedRequest("abcd")
	if r.Route(a("n"), false); r.TokensKnown() {
		t.Error("tokens are known before any upstream is followed")
	}
	feeds := rt.followRanks("n", 2)
	rt.link(t, "abcd")
	publish(t, feeds[0], kvevents.GPU, idsOf("abcd"))
	publish(t, feeds[1], kvevents.GPU, idsOf("abcd"))
	if r.Route(a("n"), false); !r.TokensKnown() {
		t.Error("linked tokens are not known")
	}
	rt.Unfollow("n", feeds[1])
	if r.TokensKnown() {
		t.Error("tokens are known where one of two ranks has ended")
	}
	rt.Unfollow("n", feeds[0])
	rt.Follow("n", Feeds{Ranks: feeds})
	rt.Follow("n", Feeds{Ranks: feeds})
	rt.Follow("n", Feeds{})
	if rt.followed != 0 {
		t.Errorf("%d upstreams are followed", rt.followed)
	}
}
