// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
	"github.com/bauxite/caddy-kvaware/internal/kvindex"
	"github.com/bauxite/caddy-kvaware/radixcache"
)

const (
	// maxPrefilling bounds the prompts under prefill that are remembered for an
	// upstream, the latest ones: prompts that arrive together are among them.
	maxPrefilling = 32

	// After distrustAfter wrong predictions in a row, an upstream's events are
	// ignored for distrustTime. A prediction is wrong when it was further from
	// the truth than a prediction from what was sent there, by more than
	// distrustMargin of the prompt.
	distrustAfter  = 3
	distrustMargin = 0.25
	distrustTime   = time.Minute
)

// Feeds are the KV events of one upstream: a feed for each of its data-parallel
// ranks, and what a token in each tier counts.
type Feeds struct {
	Ranks   []*kvindex.Feed
	Weights kvevents.TierWeights // by kvevents.Tier
}

// followedUpstream is the state of an upstream whose events are followed.
type followedUpstream struct {
	Feeds
	prefilling      []*Request // the latest last
	wrongInRow      int        // predictions, see distrustAfter
	distrustedUntil time.Time

	// What its events say about the prompt under evaluation, over all ranks.
	evaluation uint64
	tokens     int                    // that it holds
	mapped     int                    // blocks that the events name, without guessed answers
	weighted   float64                // the same, weighted by tier
	outsideGPU [kvevents.NumTiers]int // of the tokens, those not on a GPU, by kvevents.Tier
}

// Index returns the KV index: what the engines report to hold, and which text
// leads to which tokens.
func (rt *Router) Index() *kvindex.Index { return rt.index }

// Follow sets the feeds of an upstream; without ranks its events are no longer
// followed.
func (rt *Router) Follow(address string, feeds Feeds) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	u := rt.upstream(address)
	rt.unfollow(u)
	if len(feeds.Ranks) == 0 {
		return
	}
	u.followed = &followedUpstream{Feeds: feeds}
	rt.followed++
	for _, feed := range feeds.Ranks {
		rt.byFeed.set(feed.ID(), u)
	}
}

// Unfollow notes that one of an upstream's feeds has ended.
func (rt *Router) Unfollow(address string, feed *kvindex.Feed) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if u := rt.upstreams[address]; u != nil && u.followed != nil && slices.Contains(u.followed.Ranks, feed) {
		rt.unfollow(u)
	}
}

// unfollow removes an upstream's feeds. The caller holds mu.
func (rt *Router) unfollow(u *upstream) {
	if u.followed == nil {
		return
	}
	for _, feed := range u.followed.Ranks {
		rt.byFeed.remove(feed.ID())
	}
	u.followed = nil
	rt.followed--
}

// CacheCleared notes that the engine at an address has cleared its KV cache, before
// its events say so: vLLM publishes that only when it has work again. Blocks that it
// keeps outside its GPU stay.
func (rt *Router) CacheCleared(address string) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	u := rt.upstreams[address]
	if u == nil {
		return
	}
	rt.cacheLost(u)
	if u.followed == nil {
		return
	}
	for _, feed := range u.followed.Ranks {
		feed.Apply(&kvevents.Event{Kind: kvevents.Cleared})
	}
}

// BlockSizes returns the block sizes, in tokens, of all followed engines that
// have reported blocks, and of the caches outside them.
func (rt *Router) BlockSizes() (sizes []int) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	for _, u := range rt.upstreams {
		if u.followed == nil {
			continue
		}
		for _, feed := range u.followed.Ranks {
			_, chunk := feed.External()
			for _, size := range []int{feed.BlockTokens(), chunk} {
				if size > 0 && !slices.Contains(sizes, size) {
					sizes = append(sizes, size)
				}
			}
		}
	}
	return sizes
}

// knowledge returns the reliability of the upstream's events: that of its least known
// rank.
func (fu *followedUpstream) knowledge(now time.Time) kvevents.Knowledge {
	if now.Before(fu.distrustedUntil) {
		return kvevents.Unknown
	}
	least := kvevents.Complete
	for _, feed := range fu.Ranks {
		least = min(least, feed.Knowledge())
	}
	return least
}

// reset drops what an earlier evaluation has stored.
func (fu *followedUpstream) reset(rt *Router) {
	if fu.evaluation != rt.evaluation {
		fu.evaluation, fu.tokens, fu.mapped, fu.weighted, fu.outsideGPU = rt.evaluation, 0, 0, 0, [kvevents.NumTiers]int{}
	}
}

// addRank adds the blocks of the prompt that a rank of the upstream holds.
func (fu *followedUpstream) addRank(r *Request, m radixcache.Match, tm *tokenMatch) {
	fu.reset(r.router)
	blocks := tm.chain[:m.Blocks]
	weighted := float64(len(blocks)*tm.blockTokens) * fu.Weights[kvevents.GPU]
	if fu.tiered(m.Upstream) {
		weighted = fu.addTiers(r.router.tree.BlocksByTier(m.Upstream, blocks), tm.blockTokens)
	}
	answer := 0
	if len(blocks) == len(tm.chain) {
		answer = r.answerBlocks(m.Upstream, tm) * tm.blockTokens
	}
	fu.tokens += len(blocks)*tm.blockTokens + answer
	fu.mapped += len(blocks)
	fu.weighted += weighted + float64(answer)*fu.Weights[kvevents.GPU]
}

// tiered reports whether a rank has blocks in other tiers than its GPU's.
func (fu *followedUpstream) tiered(id radixcache.Upstream) bool {
	for _, feed := range fu.Ranks {
		if feed.ID() == id {
			return feed.Tiered()
		}
	}
	return false
}

// addTiers adds the tokens outside the GPU of a rank, given its blocks by tier,
// and returns all its tokens weighted by tier.
func (fu *followedUpstream) addTiers(tiers [kvevents.NumTiers]int32, blockTokens int) (weighted float64) {
	for tier, blocks := range tiers {
		tokens := int(blocks) * blockTokens
		weighted += float64(tokens) * fu.Weights[tier]
		if kvevents.Tier(tier) != kvevents.GPU {
			fu.outsideGPU[tier] += tokens
		}
	}
	return weighted
}

// checkPrediction compares what the upstream's events predicted, and what would
// have been predicted without them, with the cached tokens it reports.
func (fu *followedUpstream) checkPrediction(now time.Time, predicted, bySent, cached, promptTokens int) {
	if abs(predicted-cached)-abs(bySent-cached) <= int(distrustMargin*float64(promptTokens)) {
		fu.wrongInRow = 0
		return
	}
	if fu.wrongInRow++; fu.wrongInRow >= distrustAfter {
		fu.wrongInRow, fu.distrustedUntil = 0, now.Add(distrustTime)
	}
}

func abs(n int) int { return max(n, -n) }

// startPrefill notes that the prompt is being computed on the upstream.
func (fu *followedUpstream) startPrefill(r *Request) {
	if len(fu.prefilling) == maxPrefilling {
		fu.prefilling = append(fu.prefilling[:0], fu.prefilling[1:]...)
	}
	fu.prefilling = append(fu.prefilling, r)
}

// endPrefill notes that it is no longer.
func (fu *followedUpstream) endPrefill(r *Request) {
	if i := slices.Index(fu.prefilling, r); i >= 0 {
		fu.prefilling = append(fu.prefilling[:i], fu.prefilling[i+1:]...)
	}
}
