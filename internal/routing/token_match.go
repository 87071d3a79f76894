// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
	"github.com/bauxite/caddy-kvaware/internal/kvindex"
	"github.com/bauxite/caddy-kvaware/radixcache"
)

// answerSlack bounds the tokens that can follow a prompt's known ones: so many
// times as many as are estimated from their text.
const answerSlack = 2

// TokenKey says which prompts have comparable tokens. Its BlockTokens is left
// out: the block size is the upstream's.
type TokenKey = kvindex.TokenKey

// tokenMatch is the known part of a prompt's tokens under one identity, in blocks of
// one size.
type tokenMatch struct {
	identity    *Identity
	blockTokens int
	chain       []uint64 // hashes of its token blocks, as the KV index has them
	tokens      int      // that are known
	textBlocks  int      // that these tokens stand for
	textBytes   int      // that these tokens stand for
	answerBytes int      // of text behind, up to the last message, see answerBlocks
}

// matchTokens looks up which tokens of the prompt the followed upstreams hold.
// The caller holds mu.
func (r *Request) matchTokens(upstreams []*upstream) {
	rt := r.router
	rt.scratch.tokenMatches, r.tokensKnown = rt.scratch.tokenMatches[:0], true
	if rt.byFeed.count == 0 || !r.isCurrent() {
		return
	}
	for _, u := range upstreams {
		if u.followed == nil {
			continue
		}
		identity := r.on(u)
		for _, feed := range u.followed.Ranks {
			size := feed.BlockTokens()
			if size > 0 && r.tokenMatchFor(identity, size) == nil {
				r.lookUpTokens(identity, size)
			}
			tm := r.tokenMatchFor(identity, size)
			r.tokensKnown = r.tokensKnown && tm != nil && tm.textBlocks >= len(identity.Chain)
		}
		r.addExternal(u.followed, identity)
	}
	r.updateLength()
}

// addExternal adds the part of the prompt that is kept beside an engine, in
// chunks of another size. It counts where it reaches further than the engine's own
// blocks. The caller holds mu.
func (r *Request) addExternal(fu *followedUpstream, identity *Identity) {
	rt := r.router
	inMemory, all := 0, 0 // tokens, over all ranks
	for _, feed := range fu.Ranks {
		id, size := feed.External()
		if id == 0 || size == 0 {
			continue
		}
		if r.tokenMatchFor(identity, size) == nil {
			r.lookUpTokens(identity, size)
		}
		tm := r.tokenMatchFor(identity, size)
		r.tokensKnown = r.tokensKnown && tm.textBlocks >= len(identity.Chain)
		tiers := rt.tree.BlocksByTier(id, tm.chain)
		near := int(tiers[kvevents.GPU]+tiers[kvevents.CPU]) * size
		inMemory, all = inMemory+near, all+near+int(tiers[kvevents.Disk])*size
	}
	if all == 0 {
		return
	}
	fu.reset(rt)
	onDisk := max(0, all-max(inMemory, fu.tokens))
	inMemory = max(0, inMemory-fu.tokens)
	fu.tokens += inMemory + onDisk
	fu.weighted += float64(inMemory)*fu.Weights[kvevents.CPU] + float64(onDisk)*fu.Weights[kvevents.Disk]
	fu.outsideGPU[kvevents.CPU] += inMemory
	fu.outsideGPU[kvevents.Disk] += onDisk
}

// tokenMatchFor returns the match under an identity in blocks of a size, nil when
// there is none.
func (r *Request) tokenMatchFor(identity *Identity, blockTokens int) *tokenMatch {
	for i := range r.router.scratch.tokenMatches {
		if tm := &r.router.scratch.tokenMatches[i]; tm.blockTokens == blockTokens && tm.identity == identity {
			return tm
		}
	}
	return nil
}

// tokenMatchOn returns the match in the upstream's block size, nil when there is
// none.
func (r *Request) tokenMatchOn(u *upstream) *tokenMatch {
	return r.tokenMatchFor(r.on(u), u.followed.Ranks[0].BlockTokens())
}

// lookUpTokens looks up the prompt's tokens under an identity in blocks of a size, and
// which upstreams with that identity hold them.
func (r *Request) lookUpTokens(identity *Identity, blockTokens int) {
	rt := r.router
	s := &rt.scratch
	n := len(s.tokenMatches)
	if n == cap(s.tokenMatches) {
		s.tokenMatches = append(s.tokenMatches, tokenMatch{})
	}
	s.tokenMatches = s.tokenMatches[:n+1] // with the chain's memory from before
	tm := &s.tokenMatches[n]
	tm.identity, tm.blockTokens = identity, blockTokens
	key := identity.TokenKey
	key.BlockTokens = blockTokens
	space := rt.index.Space(key)
	tm.chain, tm.tokens, tm.textBlocks = rt.index.Match(space, identity.Chain, tm.chain[:0])
	tm.textBytes, tm.answerBytes = tm.textBlocks*r.blockBytes, 0
	r.extendToMessageEnd(space, tm)
	s.treeMatches = rt.tree.Lookup(tm.chain, s.treeMatches[:0])
	for _, m := range s.treeMatches {
		if u := rt.byFeed.find(m.Upstream); u != nil && u.followed != nil && r.on(u) == identity {
			u.followed.addRank(r, m, tm)
		}
	}
}

// extendToMessageEnd extends the match from its last text block to the end of a
// message, where the index knows that.
func (r *Request) extendToMessageEnd(space kvindex.Space, tm *tokenMatch) {
	ends := tm.identity.MessageEnds
	for i := len(ends) - 1; i >= 0; i-- {
		end := ends[i]
		if end.Bytes < tm.textBytes {
			return
		}
		if end.Bytes-tm.textBytes >= r.blockBytes {
			continue // a whole block before it is not linked
		}
		chain, tokens, ok := r.router.index.Extend(space, end.Hash, tm.chain, tm.tokens)
		if !ok {
			continue
		}
		tm.chain, tm.tokens, tm.textBytes = chain, tokens, end.Bytes
		if last := len(ends) - 1; end.Answered && i+1 < last { // the last message is new
			tm.answerBytes = ends[last-1].Bytes - end.Bytes
		}
		return
	}
}

// answerBlocks returns the number of blocks behind the known tokens that an upstream
// holds and this prompt goes on with: its own answer to an earlier turn, and later
// turns that other upstreams have served. Nothing else can follow the end of a
// prompt. Blocks there are not counted when they branch, or are more than the
// messages of this prompt can have: they belong to another conversation, or are
// reasoning that is not repeated.
func (r *Request) answerBlocks(id radixcache.Upstream, tm *tokenMatch) int {
	if tm.answerBytes == 0 || r.promptBytes == 0 {
		return 0
	}
	expected := int(int64(tm.answerBytes) * int64(r.estimatedTokens) / int64(r.promptBytes))
	most := expected*answerSlack/tm.blockTokens + 2
	if blocks := r.router.tree.HeldBeyond(id, tm.chain, most+1); blocks <= most {
		return blocks
	}
	return 0
}

// updateLength sets the prompt's length to the known tokens plus an estimate for
// the rest. Once the prompt is sent its length stays as it is.
func (r *Request) updateLength() {
	if r.attempt.upstream != nil || r.promptBytes == 0 {
		return
	}
	for i := range r.router.scratch.tokenMatches {
		if tm := &r.router.scratch.tokenMatches[i]; tm.textBlocks > 0 {
			rest := max(0, r.promptBytes-tm.textBytes)
			r.promptTokens = max(1, tm.tokens+int(int64(rest)*int64(r.estimatedTokens)/int64(r.promptBytes)))
			return
		}
	}
}
