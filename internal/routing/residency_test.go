// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
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

// idsOf are the tokens of a text.
func idsOf(text string) (ids []uint32) {
	for i := range text {
		for k := range letterTokens {
			ids = append(ids, uint32(text[i])<<16|uint32(k))
		}
	}
	return ids
}

// link tells the fleet which tokens a text has, in the engine's blocks.
func (rt *Router) link(t *testing.T, text string) {
	t.Helper()
	rt.linkIn(t, text, engineBlock)
}

// linkIn does it in blocks of a size.
func (rt *Router) linkIn(t *testing.T, text string, blockTokens int) {
	t.Helper()
	chain := chainOf(text)
	anchors := make([]kvindex.Anchor, len(chain))
	for i := range anchors {
		anchors[i] = kvindex.Anchor{Tokens: (i + 1) * letterTokens, Exact: true}
	}
	space := rt.Index().Space(TokenKey{Model: "m", BlockTokens: blockTokens})
	if rt.Index().Link(space, chain, anchors, idsOf(text)) {
		t.Fatal("the links contradict each other")
	}
}

// followRanks has an upstream's events followed, of so many ranks.
func (rt *Router) followRanks(address string, ranks int) (feeds []*kvindex.Feed) {
	for rank := range ranks {
		feed := rt.Index().Feed(address + string(rune('0'+rank)))
		feed.SetKnowledge(kvevents.Complete)
		feeds = append(feeds, feed)
	}
	rt.Follow(address, Feeds{Ranks: feeds, Weights: [3]float64{1, 0.5, 0.25}})
	return feeds
}

// says has a publisher say that these tokens are in a tier, from the start on.
func says(t *testing.T, feed *kvindex.Feed, tier kvevents.Tier, ids []uint32) {
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

// followedRequest is one for a text whose tokens may be known.
func (rt *Router) followedRequest(text string) *Request {
	return rt.NewRequest(Prompt{
		Chain: chainOf(text), Tokens: len(text)*letterTokens + 1, BlockTokens: letterTokens, Stream: true,
		Bytes: len(text) * letterBytes, BlockBytes: letterBytes, TokenKey: TokenKey{Model: "m"},
	})
}

// sent records that an upstream was sent a text, long ago.
func (rt *Router) sent(address, text string) {
	r := rt.followedRequest(text)
	r.Route(a(address), false)
	r.Confirm()
	r.FirstToken()
	r.End()
}

// wantHit routes nothing, and looks what is predicted of a request.
func wantHit(t *testing.T, r *Request, address string, want prefixMatch) {
	t.Helper()
	r.router.mu.Lock()
	defer r.router.mu.Unlock()
	r.evaluate(a(address))
	if got := r.router.scratch.prefixMatches[0]; got != want {
		t.Errorf("predicted %+v, want %+v", got, want)
	}
}

func TestWhatEventsSayCountsAsFarAsItGoes(t *testing.T) {
	rt, _ := newTestRouter()
	rt.link(t, "abcdefgh")
	rt.sent("one", "abcd")
	r := rt.followedRequest("abcdefgh")
	wantHit(t, r, "one", prefixMatch{tokens: 256, weighted: 256})

	feed := rt.followRanks("one", 1)[0]
	says(t, feed, kvevents.GPU, idsOf("ab"))
	for _, c := range []struct {
		known kvevents.Knowledge
		want  prefixMatch
	}{
		{kvevents.Complete, prefixMatch{tokens: 128, weighted: 128, byEvents: true}}, // the rest was evicted
		{kvevents.Partial, prefixMatch{tokens: 256, weighted: 256}},                  // it may be there
		{kvevents.Unknown, prefixMatch{tokens: 256, weighted: 256}},
	} {
		feed.SetKnowledge(c.known)
		wantHit(t, r, "one", c.want)
	}

	says(t, feed, kvevents.GPU, idsOf("abcdef")) // what came by another way
	for known, want := range map[kvevents.Knowledge]prefixMatch{
		kvevents.Complete: {tokens: 384, weighted: 384, byEvents: true},
		kvevents.Partial:  {tokens: 384, weighted: 384, byEvents: true},
		kvevents.Unknown:  {tokens: 256, weighted: 256},
	} {
		feed.SetKnowledge(known)
		wantHit(t, r, "one", want)
	}
	feed.SetKnowledge(kvevents.Complete)
	says(t, feed, kvevents.GPU, idsOf("abcdefgh"))
	wantHit(t, r, "one", prefixMatch{tokens: 496, weighted: 496, byEvents: true}) // the last block is computed
	wantHit(t, rt.followedRequest("xbcd"), "one", prefixMatch{byEvents: true})

	rt.Unfollow("one", feed)
	wantHit(t, r, "one", prefixMatch{tokens: 256, weighted: 256})
}

// Where the text is not known to lead to tokens, what was sent counts.
func TestWhatIsNotLinkedGoesByWhatWasSent(t *testing.T) {
	rt, _ := newTestRouter()
	rt.link(t, "ab")
	feed := rt.followRanks("one", 1)[0]
	says(t, feed, kvevents.GPU, idsOf("abcd"))
	rt.sent("one", "abcd")
	r := rt.followedRequest("abcdef")
	wantHit(t, r, "one", prefixMatch{tokens: 256, weighted: 256})
	if r.TokensKnown() {
		t.Error("the tokens of the whole prompt are taken to be known")
	}
	rt.link(t, "abcdef")
	wantHit(t, r, "one", prefixMatch{tokens: 256, weighted: 256, byEvents: true})
	if !r.TokensKnown() || r.NeedsTokens(a("one")) {
		t.Error("the tokens of the prompt are taken not to be known")
	}
	if !rt.followedRequest("abx").NeedsTokens(a("one")) || rt.followedRequest("abx").NeedsTokens(a("nobody follows")) {
		t.Error("whether tokens are lacking is told wrongly")
	}
}

// An engine takes whole blocks from its cache, and never the last token.
func TestTheEndOfAPromptIsComputed(t *testing.T) {
	rt, _ := newTestRouter()
	rt.link(t, "abcd")
	says(t, rt.followRanks("one", 1)[0], kvevents.GPU, idsOf("abcd"))
	r := rt.followedRequest("abcd")
	r.router.mu.Lock()
	defer r.router.mu.Unlock()
	r.evaluate(a("one"))
	for prompt, want := range map[int]int{257: 256, 256: 240, 255: 240, 241: 240, 240: 224} {
		r.promptTokens = prompt
		if got := r.eventMatch(rt.upstreams["one"]).tokens; got != want {
			t.Errorf("of %d tokens, all of which it holds, %d are predicted, want %d", prompt, got, want)
		}
	}
}

// Events of which something is wrong are not gone by for a while.
func TestMistrust(t *testing.T) {
	rt, c := newTestRouter()
	rt.link(t, "abcd")
	feed := rt.followRanks("one", 1)[0]
	says(t, feed, kvevents.GPU, idsOf("xyz"))
	rt.sent("one", "abcd")
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
	wantHit(t, r, "one", nothing)
	answer(256)
	answer(256)
	answer(0) // now the events were right
	answer(256)
	answer(256)
	wantHit(t, r, "one", nothing)
	answer(256)
	wantHit(t, r, "one", history)
	c.add(distrustTime - time.Second)
	wantHit(t, r, "one", history)
	c.add(2 * time.Second)
	wantHit(t, r, "one", nothing)
}

// What is being computed is there before the events of it are.
func TestWhatIsBeingComputedCounts(t *testing.T) {
	rt, _ := newTestRouter()
	rt.link(t, "abcdef")
	says(t, rt.followRanks("one", 1)[0], kvevents.GPU, idsOf("x"))
	first := rt.followedRequest("abcd")
	first.Route(a("one"), false)
	r := rt.followedRequest("abcdef")
	wantHit(t, r, "one", prefixMatch{tokens: 256, weighted: 256, byEvents: true})
	wantHit(t, rt.followedRequest("abxy"), "one", prefixMatch{tokens: 128, weighted: 128, byEvents: true})
	first.Confirm()
	first.FirstToken() // by now the events would be here
	wantHit(t, r, "one", prefixMatch{byEvents: true})
	first.End()

	for i := range 2 * maxPrefilling {
		rt.followedRequest(string(rune('A'+i))).Route(a("one"), false)
	}
	if n := len(rt.upstreams["one"].followed.prefilling); n != maxPrefilling {
		t.Errorf("%d prompts are looked at", n)
	}
}

// A token outside the GPU is worth less, and is predicted all the same.
func TestTiersHaveWeights(t *testing.T) {
	rt, _ := newTestRouter()
	rt.link(t, "abcdef")
	feed := rt.followRanks("one", 1)[0]
	says(t, feed, kvevents.GPU, idsOf("a"))
	says(t, feed, kvevents.CPU, idsOf("abc"))
	says(t, feed, kvevents.Disk, idsOf("abcd"))
	wantHit(t, rt.followedRequest("abcdef"), "one", prefixMatch{tokens: 256, weighted: 64 + 128/2 + 64/4, byEvents: true})
}

// What LMCache keeps in chunks of its own counts behind what the GPU holds, and
// can be staged.
func TestChunksOutsideCount(t *testing.T) {
	rt, _ := newTestRouter()
	feed := rt.followRanks("one", 1)[0]
	chunks := func(tier kvevents.Tier, text string) {
		t.Helper()
		const size = 2 * letterTokens
		ids := idsOf(text)
		e := &kvevents.Event{Kind: kvevents.Stored, Root: true, Tier: tier, Tokens: ids, BlockSize: size}
		for i := size; i <= len(ids); i += size {
			e.Hashes = append(e.Hashes, uint64(1000*i)+uint64(text[0]))
		}
		if !feed.Apply(e) {
			t.Fatal("an event could not be used")
		}
	}
	says(t, feed, kvevents.GPU, idsOf("a"))
	chunks(kvevents.CPU, "ab")
	chunks(kvevents.Disk, "abcdef")
	rt.link(t, "abcdefgh")
	if sizes := rt.BlockSizes(); !slices.Contains(sizes, engineBlock) || !slices.Contains(sizes, 2*letterTokens) || len(sizes) != 2 {
		t.Fatalf("blocks of %v tokens", sizes)
	}
	wantHit(t, rt.followedRequest("abcdefgh"), "one", prefixMatch{tokens: 64, weighted: 64, byEvents: true}) // not linked in chunks yet
	rt.linkIn(t, "abcdefgh", 2*letterTokens)
	// One letter on the GPU, one more in CPU memory, four more on disk.
	wantHit(t, rt.followedRequest("abcdefgh"), "one", prefixMatch{tokens: 6 * 64, weighted: 64 + 64/2 + 4*64/4, byEvents: true})
	r := rt.followedRequest("abcdefgh")
	r.Assign(Candidate{Address: "one"})
	if o := r.Prediction(); o.OnGPU != 64 || o.EverSent != 6*64 || o.Offload != (Offload{CPU: 2 * 64, Storage: 6 * 64}) {
		t.Errorf("%+v", o)
	}
	if !r.TokensKnown() {
		t.Error("its tokens are to be fetched once more")
	}
	r.End()
	wantHit(t, rt.followedRequest("xyz"), "one", prefixMatch{byEvents: true})
	says(t, feed, kvevents.GPU, idsOf("abcdefgh"))
	wantHit(t, rt.followedRequest("abcdefgh"), "one", prefixMatch{tokens: 496, weighted: 496, byEvents: true}) // all whole blocks but the last
}

// Which rank gets a request is the engine's choice: what counts is the mean, and
// what the rank that knows least knows.
func TestRanksCountAsTheirMean(t *testing.T) {
	rt, _ := newTestRouter()
	rt.link(t, "abcdef")
	feeds := rt.followRanks("one", 2)
	says(t, feeds[0], kvevents.GPU, idsOf("abcd"))
	says(t, feeds[1], kvevents.GPU, idsOf("x"))
	rt.sent("one", "abc")
	r := rt.followedRequest("abcdef")
	wantHit(t, r, "one", prefixMatch{tokens: 128, weighted: 128, byEvents: true})
	says(t, feeds[1], kvevents.GPU, idsOf("ab"))
	wantHit(t, r, "one", prefixMatch{tokens: 192, weighted: 192, byEvents: true})
	feeds[1].SetKnowledge(kvevents.Unknown)
	wantHit(t, r, "one", prefixMatch{tokens: 192, weighted: 192}) // that was sent there
	rt.Unfollow("one", feeds[1])
	wantHit(t, r, "one", prefixMatch{tokens: 192, weighted: 192})
	if sizes := rt.BlockSizes(); len(sizes) != 0 {
		t.Errorf("with a rank gone, blocks of sizes %v are followed", sizes)
	}
}

// A next turn goes on behind the end of the one before, which is in the middle
// of a text block, with the engine's own answer, unless it cannot be that.
func TestTheNextTurnGoesOnBehindTheAnswer(t *testing.T) {
	for name, c := range map[string]struct{ answer, want int }{
		"no answer":     {0, 272},
		"an answer":     {10 * engineBlock, 272 + 10*engineBlock},
		"too much":      {40 * engineBlock, 272},
		"half a block?": {engineBlock / 2, 272},
	} {
		t.Run(name, func(t *testing.T) {
			rt, _ := newTestRouter()
			const endHash, endTokens, endBytes = 4711, 276, 4*letterBytes + 100
			ids := idsOf("abcdX")[:endTokens]
			chain, anchors := chainOf("abcd"), []kvindex.Anchor{}
			for i := range chain {
				anchors = append(anchors, kvindex.Anchor{Tokens: (i + 1) * letterTokens, Exact: true})
			}
			space := rt.Index().Space(TokenKey{Model: "m", BlockTokens: engineBlock})
			rt.Index().Link(space, append(chain, endHash), append(anchors, kvindex.Anchor{Tokens: endTokens, Exact: true}), ids)
			feed := rt.followRanks("one", 1)[0]
			says(t, feed, kvevents.GPU, append(ids, idsOf("ANSWERANSWER")[:c.answer]...))

			const bytes = endBytes + 1000
			r := rt.NewRequest(Prompt{
				Chain: chainOf("abcdYZ"), Tokens: bytes / 4, BlockTokens: letterTokens, Bytes: bytes, BlockBytes: letterBytes,
				TokenKey:    TokenKey{Model: "m"},
				MessageEnds: []MessageEnd{{Bytes: endBytes, Hash: endHash, Answered: true}, {Bytes: endBytes + 800, Hash: 1}, {Bytes: bytes, Hash: 2}},
			})
			wantHit(t, r, "one", prefixMatch{tokens: c.want, weighted: c.want, byEvents: true})
		})
	}
}
