// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
	"github.com/bauxite/caddy-kvaware/internal/kvindex"
)

// BenchmarkRoute64 is the whole decision for a 32k-token prompt that one of
// 64 upstreams holds: lookup, prediction for each, reservation, record, end.
func BenchmarkRoute64(b *testing.B) {
	rt := New(20_000_000, time.Now)
	candidates := make([]Candidate, 64)
	for i := range candidates {
		candidates[i].Address = fmt.Sprint("node-", i, ":8000")
		rt.SetCapacity(candidates[i].Address, 1_500_000)
		rt.SetLoad(candidates[i].Address, EngineLoad{Running: 3})
	}
	chain := make([]uint64, 32768*4/256)
	for i := range chain {
		chain[i] = rand.Uint64()
	}
	prompt := Prompt{Chain: chain, Tokens: 32768, BlockTokens: 64, Stream: true}
	for _, t := range candidates {
		r := rt.NewRequest(Prompt{Chain: chain[:16], Tokens: 32768, BlockTokens: 64})
		r.Route([]Candidate{t}, false)
		r.Confirm()
		r.End()
	}
	r := rt.NewRequest(prompt)
	b.ReportAllocs()
	for b.Loop() {
		r.Route(candidates, false)
		r.Confirm()
		r.FirstToken()
		r.End()
	}
}

// BenchmarkRouteFollowed decides between 64 upstreams whose events are followed
// for a prompt of 32k tokens, of which each holds another part according to its
// events. It is BenchmarkSelect64 of package kvaware with events and without Caddy.
func BenchmarkRouteFollowed(b *testing.B) {
	const upstreams, tokens, blockTokens, blockBytes = 64, 32768, 16, 256
	now := time.Unix(1e9, 0)
	rt := New(64<<20, func() time.Time { return now })
	rnd := rand.New(rand.NewPCG(64, 32768))
	ids := make([]uint32, tokens)
	for i := range ids {
		ids[i] = rnd.Uint32()
	}
	text := make([]uint64, tokens*4/blockBytes)
	anchors := make([]kvindex.Anchor, len(text))
	for i := range text {
		text[i] = rnd.Uint64()
		anchors[i] = kvindex.Anchor{Tokens: (i + 1) * blockBytes / 4, Exact: true}
	}
	candidates := make([]Candidate, upstreams)
	for i := range candidates {
		candidates[i].Address = fmt.Sprintf("node-%d:8000", i)
		feed := rt.Index().Feed(candidates[i].Address)
		held := tokens / blockTokens * (i + 1) / upstreams
		hashes := make([]uint64, held)
		for k := range hashes {
			hashes[k] = rnd.Uint64()
		}
		feed.Apply(&kvevents.Event{Kind: kvevents.Stored, Root: true, Hashes: hashes, Tokens: ids[:held*blockTokens], BlockSize: blockTokens})
		feed.SetKnowledge(kvevents.Complete)
		rt.Follow(candidates[i].Address, Feeds{Ranks: []*kvindex.Feed{feed}, Weights: kvevents.TierWeights{1, 0.8, 0.3}})
	}
	key := TokenKey{Model: "m", BlockTokens: blockTokens}
	rt.Index().Link(rt.Index().Space(key), text, anchors, ids)
	p := Prompt{
		Chain: text, Tokens: tokens, BlockTokens: blockBytes / 4, Stream: true,
		Bytes: tokens * 4, BlockBytes: blockBytes, TokenKey: TokenKey{Model: "m"},
	}
	r := rt.NewRequest(p)
	if d := r.Route(candidates, false); d.Cached != tokens-blockTokens || !r.TokensKnown() {
		b.Fatalf("%d tokens are predicted to be cached", d.Cached)
	}
	r.Confirm()
	r.End()
	b.ReportAllocs()
	for b.Loop() {
		r.Route(candidates, false)
		r.Confirm()
		r.FirstToken()
		r.End()
	}
}
