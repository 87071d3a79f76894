// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
	"testing"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
	"github.com/bauxite/caddy-kvaware/internal/kvindex"
)

// LMCache's chunks count where they reach further than the GPU, and can be staged.
func TestExternalChunksCount(t *testing.T) {
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
	publish(t, feed, kvevents.GPU, idsOf("a"))
	chunks(kvevents.CPU, "ab")
	chunks(kvevents.Disk, "abcdef")
	rt.link(t, "abcdefgh")
	if sizes := rt.BlockSizes(); !slices.Contains(sizes, engineBlock) || !slices.Contains(sizes, 2*letterTokens) || len(sizes) != 2 {
		t.Fatalf("blocks of %v tokens", sizes)
	}
	wantMatch(t, rt.followedRequest("abcdefgh"), "one", prefixMatch{tokens: 64, weighted: 64, byEvents: true}) // not linked in chunks yet
	rt.linkIn(t, "abcdefgh", 2*letterTokens)
	// One letter on the GPU, one more in CPU memory, four more on disk.
	wantMatch(t, rt.followedRequest("abcdefgh"), "one", prefixMatch{tokens: 6 * 64, weighted: 64 + 64/2 + 4*64/4, byEvents: true})
	r := rt.followedRequest("abcdefgh")
	r.Assign(Candidate{Address: "one"})
	if o := r.Prediction(); o.OnGPU != 64 || o.EverSent != 6*64 || o.Offload != (Offload{CPU: 2 * 64, Storage: 6 * 64}) {
		t.Errorf("%+v", o)
	}
	if !r.TokensKnown() {
		t.Error("its tokens are to be fetched once more")
	}
	r.End()
	wantMatch(t, rt.followedRequest("xyz"), "one", prefixMatch{byEvents: true})
	publish(t, feed, kvevents.GPU, idsOf("abcdefgh"))
	wantMatch(t, rt.followedRequest("abcdefgh"), "one", prefixMatch{tokens: 496, weighted: 496, byEvents: true}) // all whole blocks but the last
}

// The next turn continues the match after the end of the one before, in the middle of
// a text block, with the engine's own answer, unless the blocks there cannot be that.
func TestTheNextTurnContinuesAfterTheAnswer(t *testing.T) {
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
			publish(t, feed, kvevents.GPU, append(ids, idsOf("ANSWERANSWER")[:c.answer]...))

			const bytes = endBytes + 1000
			r := rt.NewRequest(Prompt{
				Chain: chainOf("abcdYZ"), Tokens: bytes / 4, BlockTokens: letterTokens, Bytes: bytes, BlockBytes: letterBytes,
				TokenKey:    TokenKey{Model: "m"},
				MessageEnds: []MessageEnd{{Bytes: endBytes, Hash: endHash, Answered: true}, {Bytes: endBytes + 800, Hash: 1}, {Bytes: bytes, Hash: 2}},
			})
			wantMatch(t, r, "one", prefixMatch{tokens: c.want, weighted: c.want, byEvents: true})
		})
	}
}
