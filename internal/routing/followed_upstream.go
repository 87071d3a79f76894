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
	// maxComputing is how many of the prompts that are being computed on an
	// upstream are looked at, the latest ones: those that arrive together are
	// among them.
	maxPrefilling = 32

	// answerSlack is how many times as many tokens what is behind a prompt may
	// have as are estimated from its text.
	answerSlack = 2

	// wrongAfter is after how many answers in a row an upstream's events are
	// not gone by for mistrust: answers of which they said something that was
	// further from the truth than what was sent there says, by wrongBy of the
	// prompt. Something about them is not as it seems then.
	distrustAfter  = 3
	distrustMargin = 0.25
	distrustTime   = time.Minute
)

// Feeds is what an upstream says of its KV cache: one feed for each of its
// data-parallel ranks, and what a token in each tier counts.
type Feeds struct {
	Ranks   []*kvindex.Feed
	Weights [3]float64 // by kvevents.Tier
}

// Lineage is what an engine's blocks commit to beside a prompt's tokens, and
// what decides about its tokens beside its text. The size of the engine's
// blocks is left out: it is the upstream's.
type TokenKey = kvindex.SpaceKey

// residence is what is kept of an upstream whose events are followed.
type followedUpstream struct {
	Feeds
	prefilling      []*Request // whose first token is not there yet, the latest last
	wrongInRow      int        // answers in a row, see wrongAfter
	distrustedUntil time.Time  // until when it is not gone by
	evaluation      uint64     // the survey that these two are of
	tokens          int        // of the prompt that it holds, over all ranks
	weighted        float64    // the same, weighed by the tiers they are in
	outsideGPU      [3]int     // of them, those in a tier other than the GPU's, by kvevents.Tier
}

// linked is what is known of the tokens of a request's prompt.
type tokenMatch struct {
	blockTokens int
	chain       []uint64 // its token blocks, as engines' events have them
	tokens      int      // that are known
	textBlocks  int      // that stand for them
	textBytes   int      // of text that stand for them
	answerBytes int      // bytes of text behind it, but for the last message, see answered
}

// Residency is what the engines say they hold, and which text leads to which
// tokens.
func (rt *Router) Index() *kvindex.Index { return rt.index }

// Follow notes that an upstream's events are followed; without ranks they are
// not any more.
func (rt *Router) Follow(address string, feeds Feeds) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	u := rt.upstream(address)
	rt.unfollow(u)
	if len(feeds.Ranks) == 0 {
		return
	}
	u.followed = &followedUpstream{Feeds: feeds}
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

// unfollow takes an upstream's feeds off it. The caller holds mu.
func (rt *Router) unfollow(u *upstream) {
	if u.followed == nil {
		return
	}
	for _, feed := range u.followed.Ranks {
		rt.byFeed.remove(feed.ID())
	}
	u.followed = nil
}

// BlockSizes returns the sizes of the blocks of all followed engines that have
// said how large they are, and of what is kept beside them, in tokens.
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

// knowledge is how far the upstream's own word goes: as far as that of the
// rank that says least.
func (w *followedUpstream) knowledge(now time.Time) kvevents.Knowledge {
	if now.Before(w.distrustedUntil) {
		return kvevents.Unknown
	}
	least := kvevents.Complete
	for _, feed := range w.Ranks {
		least = min(least, feed.Knowledge())
	}
	return least
}

// consult asks for the upstreams at the targets what their engines say they
// hold of the prompt. The caller holds mu.
func (r *Request) matchTokens(upstreams []*upstream) {
	rt := r.router
	s := &rt.scratch
	s.tokenMatches, r.tokensKnown = s.tokenMatches[:0], true
	if rt.byFeed.count == 0 || !r.isCurrent() {
		return
	}
	for _, u := range upstreams {
		if u.followed == nil {
			continue
		}
		for _, feed := range u.followed.Ranks {
			size := feed.BlockTokens()
			if size > 0 && r.tokenMatchFor(size) == nil {
				r.lookUpTokens(size)
			}
			l := r.tokenMatchFor(size)
			r.tokensKnown = r.tokensKnown && l != nil && l.textBlocks >= len(r.chain)
		}
		r.addExternal(u.followed)
	}
	r.updateLength()
}

// consultOutside asks what is kept of the prompt beside an engine, in chunks of
// another size. It counts behind what the engine holds itself. The caller holds
// mu.
func (r *Request) addExternal(w *followedUpstream) {
	rt := r.router
	memory, all := 0, 0 // tokens, over all ranks
	for _, feed := range w.Ranks {
		up, size := feed.External()
		if up == 0 || size == 0 {
			continue
		}
		if r.tokenMatchFor(size) == nil {
			r.lookUpTokens(size)
		}
		l := r.tokenMatchFor(size)
		r.tokensKnown = r.tokensKnown && l.textBlocks >= len(r.chain)
		tiers := rt.tree.BlocksByTier(up, l.chain)
		near := int(tiers[kvevents.GPU]+tiers[kvevents.CPU]) * size
		memory, all = memory+near, all+near+int(tiers[kvevents.Disk])*size
	}
	if all == 0 {
		return
	}
	w.reset(rt)
	memory, all = max(0, memory-w.tokens), max(0, all-max(memory, w.tokens))
	w.tokens += memory + all
	w.weighted += float64(memory)*w.Weights[kvevents.CPU] + float64(all)*w.Weights[kvevents.Disk]
	w.outsideGPU[kvevents.CPU] += memory
	w.outsideGPU[kvevents.Disk] += all
}

// begin forgets what an earlier survey has written down.
func (w *followedUpstream) reset(rt *Router) {
	if w.evaluation != rt.evaluation {
		w.evaluation, w.tokens, w.weighted, w.outsideGPU = rt.evaluation, 0, 0, [3]int{}
	}
}

// linkedBy returns what is known of the prompt's tokens in blocks of a size,
// nil when nothing is.
func (r *Request) tokenMatchFor(blockTokens int) *tokenMatch {
	for i := range r.router.scratch.tokenMatches {
		if l := &r.router.scratch.tokenMatches[i]; l.blockTokens == blockTokens {
			return l
		}
	}
	return nil
}

// link looks up the prompt's tokens in blocks of a size, and who holds them.
func (r *Request) lookUpTokens(blockTokens int) {
	rt := r.router
	s := &rt.scratch
	n := len(s.tokenMatches)
	if n == cap(s.tokenMatches) {
		s.tokenMatches = append(s.tokenMatches, tokenMatch{})
	}
	s.tokenMatches = s.tokenMatches[:n+1]
	l := &s.tokenMatches[n]
	l.blockTokens = blockTokens
	key := r.tokenKey
	key.BlockTokens = blockTokens
	space := rt.index.Space(key)
	l.chain, l.tokens, l.textBlocks = rt.index.Match(space, r.chain, l.chain[:0])
	l.textBytes, l.answerBytes = l.textBlocks*r.blockBytes, 0
	r.extendToMessageEnd(space, l)
	s.treeMatches = rt.tree.Lookup(l.chain, s.treeMatches[:0])
	for _, m := range s.treeMatches {
		if u := rt.byFeed.find(m.Upstream); u != nil && u.followed != nil {
			u.followed.addRank(r, m, l)
		}
	}
}

// extend goes on behind the text blocks to the end of a message, where it is
// known how many tokens there are.
func (r *Request) extendToMessageEnd(space kvindex.Space, l *tokenMatch) {
	for i := len(r.messageEnds) - 1; i >= 0; i-- {
		end := r.messageEnds[i]
		if end.Bytes < l.textBytes {
			return
		}
		if end.Bytes-l.textBytes >= r.blockBytes {
			continue // there is a whole block before it that is not linked
		}
		chain, tokens, ok := r.router.index.Extend(space, end.Hash, l.chain, l.tokens)
		if !ok {
			continue
		}
		l.chain, l.tokens, l.textBytes = chain, tokens, end.Bytes
		if last := len(r.messageEnds) - 1; end.Answered && i+1 < last { // the last message is new
			l.answerBytes = r.messageEnds[last-1].Bytes - end.Bytes
		}
		return
	}
}

// answered returns how many blocks behind the linked ones an upstream holds that
// this prompt goes on with: its own answer to an earlier turn, and turns that
// came by other ways since. Nothing else can be behind the end of a prompt. When
// what it holds there parts, or is more than the messages in the prompt can be
// (another conversation, or thoughts that are not repeated), it is not that.
func (r *Request) answerBlocks(up radixcache.Upstream, l *tokenMatch) int {
	if l.answerBytes == 0 || r.promptBytes == 0 {
		return 0
	}
	expected := int(int64(l.answerBytes) * int64(r.estimatedTokens) / int64(r.promptBytes))
	most := expected*answerSlack/l.blockTokens + 2
	if blocks := r.router.tree.HeldBeyond(up, l.chain, most+1); blocks <= most {
		return blocks
	}
	return 0
}

// hold notes that a rank of the upstream holds blocks of the prompt.
func (w *followedUpstream) addRank(r *Request, m radixcache.Match, l *tokenMatch) {
	rt := r.router
	w.reset(rt)
	tokens := int(m.Blocks) * l.blockTokens
	w.tokens += tokens
	worth := float64(tokens) * w.Weights[kvevents.GPU]
	for _, feed := range w.Ranks {
		if feed.ID() == m.Upstream && feed.Tiered() {
			worth = 0
			for tier, blocks := range rt.tree.BlocksByTier(m.Upstream, l.chain[:m.Blocks]) {
				worth += float64(int(blocks)*l.blockTokens) * w.Weights[tier]
				if kvevents.Tier(tier) != kvevents.GPU {
					w.outsideGPU[tier] += int(blocks) * l.blockTokens
				}
			}
		}
	}
	if int(m.Blocks) == len(l.chain) {
		answer := r.answerBlocks(m.Upstream, l) * l.blockTokens
		w.tokens += answer
		worth += float64(answer) * w.Weights[kvevents.GPU]
	}
	w.weighted += worth
}

// linkedOn returns what is known of the prompt's tokens in the blocks of the
// upstream, nil when nothing is.
func (r *Request) tokenMatchOn(u *upstream) *tokenMatch {
	return r.tokenMatchFor(u.followed.Ranks[0].BlockTokens())
}

// measure takes the tokens that are known for the prompt's length, and the
// estimate for the rest only. Once it is sent its length stays as it is.
func (r *Request) updateLength() {
	if r.upstream != nil || r.promptBytes == 0 {
		return
	}
	for i := range r.router.scratch.tokenMatches {
		if l := &r.router.scratch.tokenMatches[i]; l.textBlocks > 0 {
			rest := max(0, r.promptBytes-l.textBytes)
			r.promptTokens = max(1, l.tokens+int(int64(rest)*int64(r.estimatedTokens)/int64(r.promptBytes)))
			return
		}
	}
}

// hit is how many tokens of a prompt an upstream is predicted to hold, and
// how many on the GPU they are worth.
type prefixMatch struct {
	tokens, weighted int
	byEvents         bool // the upstream's events say so
}

// heldBy returns what u is predicted to hold of the prompt. Its own events
// count for as much as they cover; for what they do not, and while they are not
// up to date, it is what was sent there. The caller holds mu.
func (r *Request) predictMatch(u *upstream, now time.Time) prefixMatch {
	sent := r.matchBySent(u)
	own := prefixMatch{tokens: sent, weighted: sent}
	if u.followed == nil {
		return own
	}
	told := r.eventMatch(u)
	switch u.followed.knowledge(now) {
	case kvevents.Unknown:
		return own
	case kvevents.Complete:
		if l := r.tokenMatchOn(u); l != nil && l.textBlocks >= int(u.heldBlocks) {
			if tokens := r.sharedWithPrefilling(u, l); tokens > told.tokens {
				return prefixMatch{tokens: tokens, weighted: tokens, byEvents: true}
			}
			return told
		}
	}
	if own.tokens > told.tokens {
		return own
	}
	return told
}

// toldBy returns what the upstream's events say it holds of the prompt. Which
// rank a request goes to is the engine's choice: it is the mean over all.
func (r *Request) eventMatch(u *upstream) prefixMatch {
	w := u.followed
	if w.evaluation != r.router.evaluation || w.tokens == 0 {
		return prefixMatch{byEvents: true}
	}
	n := len(w.Ranks)
	tokens := min(w.tokens/n, r.reusable(w.Ranks[0].BlockTokens()))
	return prefixMatch{tokens: tokens, weighted: int(float64(tokens) * w.weighted / float64(w.tokens)), byEvents: true}
}

// reusable is how many of the prompt's tokens an engine can take from its cache:
// whole blocks, and never the last token, whose output is the answer's first.
func (r *Request) reusable(blockTokens int) int {
	if blockTokens < 1 {
		return r.promptTokens - 1
	}
	return (r.promptTokens - 1) / blockTokens * blockTokens
}

// computedOn returns how many tokens the prompt shares with one that is being
// computed on the upstream now: its events may not have come yet.
func (r *Request) sharedWithPrefilling(u *upstream, l *tokenMatch) int {
	most := 0
	for _, other := range u.followed.prefilling {
		most = max(most, commonBlocks(other, r))
	}
	if most == 0 || l.textBlocks == 0 {
		return r.tokensIn(int32(most))
	}
	tokens := l.tokens * min(most, l.textBlocks) / l.textBlocks
	return min(tokens/l.blockTokens*l.blockTokens, r.reusable(l.blockTokens))
}

// compute notes that the prompt is being computed on the upstream.
func (w *followedUpstream) startPrefill(r *Request) {
	if len(w.prefilling) == maxPrefilling {
		w.prefilling = append(w.prefilling[:0], w.prefilling[1:]...)
	}
	w.prefilling = append(w.prefilling, r)
}

// computed takes it back.
func (w *followedUpstream) endPrefill(r *Request) {
	for i, other := range w.prefilling {
		if other == r {
			w.prefilling = append(w.prefilling[:i], w.prefilling[i+1:]...)
			return
		}
	}
}

// judge compares what the upstream's events said with the truth, and with what
// would have been said without them; all in tokens of a prompt.
func (w *followedUpstream) checkPrediction(now time.Time, told, own, truth, prompt int) {
	if abs(told-truth)-abs(own-truth) <= int(distrustMargin*float64(prompt)) {
		w.wrongInRow = 0
		return
	}
	if w.wrongInRow++; w.wrongInRow >= distrustAfter {
		w.wrongInRow, w.distrustedUntil = 0, now.Add(distrustTime)
	}
}

func abs(n int) int { return max(n, -n) }

// Linked reports whether the tokens of the whole prompt are known in the blocks
// of every followed upstream that has said how large they are, so that there is
// no need to fetch them. Without such upstreams there is none either.
func (r *Request) TokensKnown() bool { return r.tokensKnown }

// LacksTokens is Linked's opposite, for a request that is still to be routed.
func (r *Request) NeedsTokens(targets []Candidate) bool {
	r.router.mu.Lock()
	defer r.router.mu.Unlock()
	r.evaluate(targets)
	return !r.tokensKnown
}
