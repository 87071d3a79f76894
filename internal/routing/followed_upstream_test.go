// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
	"github.com/bauxite/caddy-kvaware/internal/kvindex"
)

// In these tests a letter is a text block of 256 bytes and 64 tokens, which are
// four of an engine's blocks.
const (
	letterBytes, letterTokens, engineBlock = 256, 64, 16
)

// idsOf returns the tokens of a text.
func idsOf(text string) (ids []uint32) {
	for i := range text {
		for k := range letterTokens {
			ids = append(ids, uint32(text[i])<<16|uint32(k))
		}
	}
	return ids
}

// link links a text to its tokens, in the engine's blocks.
func (rt *Router) link(t *testing.T, text string) {
	t.Helper()
	rt.linkIn(t, text, engineBlock)
}

// linkIn links it in blocks of a size.
func (rt *Router) linkIn(t *testing.T, text string, blockTokens int) {
	t.Helper()
	rt.linkIdentity(t, Identity{Chain: chainOf(text), TokenKey: TokenKey{Model: "m", BlockTokens: blockTokens}}, text)
}

// linkIdentity links a text under an identity.
func (rt *Router) linkIdentity(t *testing.T, identity Identity, text string) {
	t.Helper()
	anchors := make([]kvindex.Anchor, len(identity.Chain))
	for i := range anchors {
		anchors[i] = kvindex.Anchor{Tokens: (i + 1) * letterTokens, Exact: true}
	}
	key := identity.TokenKey
	key.BlockTokens = cmp.Or(key.BlockTokens, engineBlock)
	if rt.Index().Link(rt.Index().Space(key), identity.Chain, anchors, idsOf(text)) {
		t.Fatal("the links contradict each other")
	}
}

// followRanks follows the events of an upstream with so many ranks.
func (rt *Router) followRanks(address string, ranks int) (feeds []*kvindex.Feed) {
	for rank := range ranks {
		feed := rt.Index().Feed(address + string(rune('0'+rank)))
		feed.SetKnowledge(kvevents.Complete)
		feeds = append(feeds, feed)
	}
	rt.Follow(address, Feeds{Ranks: feeds, Weights: kvevents.TierWeights{1, 0.5, 0.25}})
	return feeds
}

// publish reports a prompt's tokens as stored in a tier.
func publish(t *testing.T, feed *kvindex.Feed, tier kvevents.Tier, ids []uint32) {
	t.Helper()
	hashes := make([]uint64, len(ids)/engineBlock)
	name := uint64(1) // of a block, by all tokens up to its end
	for i := range hashes {
		for _, id := range ids[i*engineBlock : (i+1)*engineBlock] {
			name = name*6364136223846793005 + uint64(id) + 1
		}
		hashes[i] = name
	}
	if !feed.Apply(&kvevents.Event{Kind: kvevents.Stored, Root: true, Tier: tier, Hashes: hashes, Tokens: ids[:len(hashes)*engineBlock], BlockSize: engineBlock}) {
		t.Fatal("an event could not be used")
	}
}

// followedRequest returns a request for a text whose tokens may be known.
func (rt *Router) followedRequest(text string) *Request {
	return rt.NewRequest(Prompt{
		Chain: chainOf(text), Tokens: len(text)*letterTokens + 1, BlockTokens: letterTokens, Stream: true,
		Bytes: len(text) * letterBytes, BlockBytes: letterBytes, TokenKey: TokenKey{Model: "m"},
	})
}

// recordSentTo records that an upstream was sent a text, long ago.
func (rt *Router) recordSentTo(address, text string) {
	r := rt.followedRequest(text)
	r.Route(a(address), false)
	r.Confirm()
	r.FirstToken()
	r.End()
}

// wantMatch checks the prediction for a request without routing it.
func wantMatch(t *testing.T, r *Request, address string, want prefixMatch) {
	t.Helper()
	r.router.mu.Lock()
	defer r.router.mu.Unlock()
	r.evaluate(a(address))
	if got := r.router.scratch.prefixMatches[0]; got != want {
		t.Errorf("predicted %+v, want %+v", got, want)
	}
}

// After wrong predictions an upstream's events are ignored for a while.
func TestWrongEventsAreDistrusted(t *testing.T) {
	rt, c := newTestRouter()
	rt.link(t, "abcd")
	feed := rt.followRanks("one", 1)[0]
	publish(t, feed, kvevents.GPU, idsOf("xyz"))
	rt.recordSentTo("one", "abcd")
	answer := func(cached int) {
		t.Helper()
		r := rt.followedRequest("abcd")
		r.Route(a("one"), false)
		r.Confirm()
		r.FirstToken()
		r.Reported(257, cached)
		r.End()
	}
	nothing, history := prefixMatch{byEvents: true}, prefixMatch{tokens: 255, weighted: 255}
	r := rt.followedRequest("abcd")
	wantMatch(t, r, "one", nothing)
	answer(256)
	answer(256)
	answer(0) // now the events were right
	answer(256)
	answer(256)
	wantMatch(t, r, "one", nothing)
	answer(256)
	wantMatch(t, r, "one", history)
	c.add(distrustTime - time.Second)
	wantMatch(t, r, "one", history)
	c.add(2 * time.Second)
	wantMatch(t, r, "one", nothing)
}

// A token outside the GPU is worth less, and is predicted all the same.
func TestTiersHaveWeights(t *testing.T) {
	rt, _ := newTestRouter()
	rt.link(t, "abcdef")
	feed := rt.followRanks("one", 1)[0]
	publish(t, feed, kvevents.GPU, idsOf("a"))
	publish(t, feed, kvevents.CPU, idsOf("abc"))
	publish(t, feed, kvevents.Disk, idsOf("abcd"))
	wantMatch(t, rt.followedRequest("abcdef"), "one", prefixMatch{tokens: 256, weighted: 64 + 128/2 + 64/4, byEvents: true})
}

// The engine chooses the rank for a request: the mean over the ranks counts, as far
// as the least known rank is known.
func TestRanksCountAsTheirMean(t *testing.T) {
	rt, _ := newTestRouter()
	rt.link(t, "abcdef")
	feeds := rt.followRanks("one", 2)
	publish(t, feeds[0], kvevents.GPU, idsOf("abcd"))
	publish(t, feeds[1], kvevents.GPU, idsOf("x"))
	rt.recordSentTo("one", "abc")
	r := rt.followedRequest("abcdef")
	wantMatch(t, r, "one", prefixMatch{tokens: 128, weighted: 128, byEvents: true})
	publish(t, feeds[1], kvevents.GPU, idsOf("ab"))
	wantMatch(t, r, "one", prefixMatch{tokens: 192, weighted: 192, byEvents: true})
	feeds[1].SetKnowledge(kvevents.Unknown)
	wantMatch(t, r, "one", prefixMatch{tokens: 192, weighted: 192}) // from what was sent there
	rt.Unfollow("one", feeds[1])
	wantMatch(t, r, "one", prefixMatch{tokens: 192, weighted: 192})
	if sizes := rt.BlockSizes(); len(sizes) != 0 {
		t.Errorf("after a rank has ended there are blocks of sizes %v", sizes)
	}
}

// An engine that has cleared its cache holds nothing, whatever it has published.
func TestAClearedCacheHoldsNothing(t *testing.T) {
	rt, _ := newTestRouter()
	rt.link(t, "abcd")
	feed := rt.followRanks("one", 1)[0]
	publish(t, feed, kvevents.GPU, idsOf("abcd"))
	rt.recordSentTo("one", "abcd")
	rt.recordSentTo("two", "abcd")
	rt.CacheCleared("one")
	rt.CacheCleared("two")
	rt.CacheCleared("three")
	wantMatch(t, rt.followedRequest("abcd?"), "one", prefixMatch{byEvents: true})
	wantMatch(t, rt.followedRequest("abcd?"), "two", prefixMatch{})
	feed.SetKnowledge(kvevents.Unknown)
	wantMatch(t, rt.followedRequest("abcd?"), "one", prefixMatch{})
	feed.SetKnowledge(kvevents.Complete)
	publish(t, feed, kvevents.GPU, idsOf("ab"))
	wantMatch(t, rt.followedRequest("abcd?"), "one", prefixMatch{tokens: 128, weighted: 128, byEvents: true})
}
