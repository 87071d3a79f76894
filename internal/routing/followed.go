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
	maxComputing = 32

	// answerSlack is how many times as many tokens what is behind a prompt may
	// have as are estimated from its text.
	answerSlack = 2

	// wrongAfter is after how many answers in a row an upstream's events are
	// not gone by for mistrust: answers of which they said something that was
	// further from the truth than what was sent there says, by wrongBy of the
	// prompt. Something about them is not as it seems then.
	wrongAfter = 3
	wrongBy    = 0.25
	mistrust   = time.Minute
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
	computing []*Request // whose first token is not there yet, the latest last
	wrong     int        // answers in a row, see wrongAfter
	mistrust  time.Time  // until when it is not gone by
	surveyed  uint64     // the survey that these two are of
	tokens    int        // of the prompt that it holds, over all ranks
	worth     float64    // the same, weighed by the tiers they are in
	slow      [3]int     // of them, those in a tier other than the GPU's, by kvevents.Tier
}

// linked is what is known of the tokens of a request's prompt.
type linked struct {
	blockTokens int
	chain       []uint64 // its token blocks, as engines' events have them
	tokens      int      // that are known
	textBlocks  int      // that stand for them
	bytes       int      // of text that stand for them
	behind      int      // bytes of text behind it, but for the last message, see answered
}

// Residency is what the engines say they hold, and which text leads to which
// tokens.
func (f *Router) Index() *kvindex.Index { return f.index }

// Follow notes that an upstream's events are followed; without ranks they are
// not any more.
func (f *Router) Follow(address string, feeds Feeds) {
	f.mu.Lock()
	defer f.mu.Unlock()
	u := f.upstream(address)
	f.unfollow(u)
	if len(feeds.Ranks) == 0 {
		return
	}
	u.followed = &followedUpstream{Feeds: feeds}
	for _, feed := range feeds.Ranks {
		f.byFeed.set(feed.ID(), u)
	}
}

// Unfollow notes that one of an upstream's feeds has ended.
func (f *Router) Unfollow(address string, feed *kvindex.Feed) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if u := f.upstreams[address]; u != nil && u.followed != nil && slices.Contains(u.followed.Ranks, feed) {
		f.unfollow(u)
	}
}

// unfollow takes an upstream's feeds off it. The caller holds mu.
func (f *Router) unfollow(u *upstream) {
	if u.followed == nil {
		return
	}
	for _, feed := range u.followed.Ranks {
		f.byFeed.drop(feed.ID())
	}
	u.followed = nil
}

// BlockSizes returns the sizes of the blocks of all followed engines that have
// said how large they are, and of what is kept beside them, in tokens.
func (f *Router) BlockSizes() (sizes []int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, u := range f.upstreams {
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
	if now.Before(w.mistrust) {
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
func (r *Request) consult(upstreams []*upstream) {
	f := r.fleet
	s := &f.scratch
	s.linked, r.linked = s.linked[:0], true
	if f.byFeed.count == 0 || !r.current() {
		return
	}
	for _, u := range upstreams {
		if u.followed == nil {
			continue
		}
		for _, feed := range u.followed.Ranks {
			size := feed.BlockTokens()
			if size > 0 && r.linkedBy(size) == nil {
				r.link(size)
			}
			l := r.linkedBy(size)
			r.linked = r.linked && l != nil && l.textBlocks >= len(r.chain)
		}
		r.consultOutside(u.followed)
	}
	r.measure()
}

// consultOutside asks what is kept of the prompt beside an engine, in chunks of
// another size. It counts behind what the engine holds itself. The caller holds
// mu.
func (r *Request) consultOutside(w *followedUpstream) {
	f := r.fleet
	memory, all := 0, 0 // tokens, over all ranks
	for _, feed := range w.Ranks {
		up, size := feed.External()
		if up == 0 || size == 0 {
			continue
		}
		if r.linkedBy(size) == nil {
			r.link(size)
		}
		l := r.linkedBy(size)
		r.linked = r.linked && l.textBlocks >= len(r.chain)
		tiers := f.tree.BlocksByTier(up, l.chain)
		near := int(tiers[kvevents.GPU]+tiers[kvevents.CPU]) * size
		memory, all = memory+near, all+near+int(tiers[kvevents.Disk])*size
	}
	if all == 0 {
		return
	}
	w.begin(f)
	memory, all = max(0, memory-w.tokens), max(0, all-max(memory, w.tokens))
	w.tokens += memory + all
	w.worth += float64(memory)*w.Weights[kvevents.CPU] + float64(all)*w.Weights[kvevents.Disk]
	w.slow[kvevents.CPU] += memory
	w.slow[kvevents.Disk] += all
}

// begin forgets what an earlier survey has written down.
func (w *followedUpstream) begin(f *Router) {
	if w.surveyed != f.surveyed {
		w.surveyed, w.tokens, w.worth, w.slow = f.surveyed, 0, 0, [3]int{}
	}
}

// linkedBy returns what is known of the prompt's tokens in blocks of a size,
// nil when nothing is.
func (r *Request) linkedBy(blockTokens int) *linked {
	for i := range r.fleet.scratch.linked {
		if l := &r.fleet.scratch.linked[i]; l.blockTokens == blockTokens {
			return l
		}
	}
	return nil
}

// link looks up the prompt's tokens in blocks of a size, and who holds them.
func (r *Request) link(blockTokens int) {
	f := r.fleet
	s := &f.scratch
	n := len(s.linked)
	if n == cap(s.linked) {
		s.linked = append(s.linked, linked{})
	}
	s.linked = s.linked[:n+1]
	l := &s.linked[n]
	l.blockTokens = blockTokens
	key := r.lineage
	key.BlockTokens = blockTokens
	space := f.index.Space(key)
	l.chain, l.tokens, l.textBlocks = f.index.Match(space, r.chain, l.chain[:0])
	l.bytes, l.behind = l.textBlocks*r.blockBytes, 0
	r.extend(space, l)
	s.matches = f.tree.Lookup(l.chain, s.matches[:0])
	for _, m := range s.matches {
		if u := f.byFeed.find(m.Upstream); u != nil && u.followed != nil {
			u.followed.hold(r, m, l)
		}
	}
}

// extend goes on behind the text blocks to the end of a message, where it is
// known how many tokens there are.
func (r *Request) extend(space kvindex.Space, l *linked) {
	for i := len(r.ends) - 1; i >= 0; i-- {
		end := r.ends[i]
		if end.Bytes < l.bytes {
			return
		}
		if end.Bytes-l.bytes >= r.blockBytes {
			continue // there is a whole block before it that is not linked
		}
		chain, tokens, ok := r.fleet.index.Extend(space, end.Hash, l.chain, l.tokens)
		if !ok {
			continue
		}
		l.chain, l.tokens, l.bytes = chain, tokens, end.Bytes
		if last := len(r.ends) - 1; end.Answered && i+1 < last { // the last message is new
			l.behind = r.ends[last-1].Bytes - end.Bytes
		}
		return
	}
}

// answered returns how many blocks behind the linked ones an upstream holds that
// this prompt goes on with: its own answer to an earlier turn, and turns that
// came by other ways since. Nothing else can be behind the end of a prompt. When
// what it holds there parts, or is more than the messages in the prompt can be
// (another conversation, or thoughts that are not repeated), it is not that.
func (r *Request) answered(up radixcache.Upstream, l *linked) int {
	if l.behind == 0 || r.bytes == 0 {
		return 0
	}
	expected := int(int64(l.behind) * int64(r.estimate) / int64(r.bytes))
	most := expected*answerSlack/l.blockTokens + 2
	if blocks := r.fleet.tree.HeldBeyond(up, l.chain, most+1); blocks <= most {
		return blocks
	}
	return 0
}

// hold notes that a rank of the upstream holds blocks of the prompt.
func (w *followedUpstream) hold(r *Request, m radixcache.Match, l *linked) {
	f := r.fleet
	w.begin(f)
	tokens := int(m.Blocks) * l.blockTokens
	w.tokens += tokens
	worth := float64(tokens) * w.Weights[kvevents.GPU]
	for _, feed := range w.Ranks {
		if feed.ID() == m.Upstream && feed.Tiered() {
			worth = 0
			for tier, blocks := range f.tree.BlocksByTier(m.Upstream, l.chain[:m.Blocks]) {
				worth += float64(int(blocks)*l.blockTokens) * w.Weights[tier]
				if kvevents.Tier(tier) != kvevents.GPU {
					w.slow[tier] += int(blocks) * l.blockTokens
				}
			}
		}
	}
	if int(m.Blocks) == len(l.chain) {
		answer := r.answered(m.Upstream, l) * l.blockTokens
		w.tokens += answer
		worth += float64(answer) * w.Weights[kvevents.GPU]
	}
	w.worth += worth
}

// linkedOn returns what is known of the prompt's tokens in the blocks of the
// upstream, nil when nothing is.
func (r *Request) linkedOn(u *upstream) *linked {
	return r.linkedBy(u.followed.Ranks[0].BlockTokens())
}

// measure takes the tokens that are known for the prompt's length, and the
// estimate for the rest only. Once it is sent its length stays as it is.
func (r *Request) measure() {
	if r.on != nil || r.bytes == 0 {
		return
	}
	for i := range r.fleet.scratch.linked {
		if l := &r.fleet.scratch.linked[i]; l.textBlocks > 0 {
			rest := max(0, r.bytes-l.bytes)
			r.prompt = max(1, l.tokens+int(int64(rest)*int64(r.estimate)/int64(r.bytes)))
			return
		}
	}
}

// hit is how many tokens of a prompt an upstream is predicted to hold, and
// how many on the GPU they are worth.
type hit struct {
	tokens, worth int
	events        bool // the upstream's events say so
}

// heldBy returns what u is predicted to hold of the prompt. Its own events
// count for as much as they cover; for what they do not, and while they are not
// up to date, it is what was sent there. The caller holds mu.
func (r *Request) heldBy(u *upstream, now time.Time) hit {
	sent := r.cachedOn(u)
	own := hit{tokens: sent, worth: sent}
	if u.followed == nil {
		return own
	}
	told := r.toldBy(u)
	switch u.followed.knowledge(now) {
	case kvevents.Unknown:
		return own
	case kvevents.Complete:
		if l := r.linkedOn(u); l != nil && l.textBlocks >= int(u.matched) {
			if tokens := r.computedOn(u, l); tokens > told.tokens {
				return hit{tokens: tokens, worth: tokens, events: true}
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
func (r *Request) toldBy(u *upstream) hit {
	w := u.followed
	if w.surveyed != r.fleet.surveyed || w.tokens == 0 {
		return hit{events: true}
	}
	n := len(w.Ranks)
	tokens := min(w.tokens/n, r.reusable(w.Ranks[0].BlockTokens()))
	return hit{tokens: tokens, worth: int(float64(tokens) * w.worth / float64(w.tokens)), events: true}
}

// reusable is how many of the prompt's tokens an engine can take from its cache:
// whole blocks, and never the last token, whose output is the answer's first.
func (r *Request) reusable(blockTokens int) int {
	if blockTokens < 1 {
		return r.prompt - 1
	}
	return (r.prompt - 1) / blockTokens * blockTokens
}

// computedOn returns how many tokens the prompt shares with one that is being
// computed on the upstream now: its events may not have come yet.
func (r *Request) computedOn(u *upstream, l *linked) int {
	most := 0
	for _, other := range u.followed.computing {
		most = max(most, commonBlocks(other, r))
	}
	if most == 0 || l.textBlocks == 0 {
		return r.tokens(int32(most))
	}
	tokens := l.tokens * min(most, l.textBlocks) / l.textBlocks
	return min(tokens/l.blockTokens*l.blockTokens, r.reusable(l.blockTokens))
}

// compute notes that the prompt is being computed on the upstream.
func (w *followedUpstream) compute(r *Request) {
	if len(w.computing) == maxComputing {
		w.computing = append(w.computing[:0], w.computing[1:]...)
	}
	w.computing = append(w.computing, r)
}

// computed takes it back.
func (w *followedUpstream) computed(r *Request) {
	for i, other := range w.computing {
		if other == r {
			w.computing = append(w.computing[:i], w.computing[i+1:]...)
			return
		}
	}
}

// judge compares what the upstream's events said with the truth, and with what
// would have been said without them; all in tokens of a prompt.
func (w *followedUpstream) judge(now time.Time, told, own, truth, prompt int) {
	if abs(told-truth)-abs(own-truth) <= int(wrongBy*float64(prompt)) {
		w.wrong = 0
		return
	}
	if w.wrong++; w.wrong >= wrongAfter {
		w.wrong, w.mistrust = 0, now.Add(mistrust)
	}
}

func abs(n int) int { return max(n, -n) }

// Linked reports whether the tokens of the whole prompt are known in the blocks
// of every followed upstream that has said how large they are, so that there is
// no need to fetch them. Without such upstreams there is none either.
func (r *Request) TokensKnown() bool { return r.linked }

// LacksTokens is Linked's opposite, for a request that is still to be routed.
func (r *Request) NeedsTokens(targets []Candidate) bool {
	r.fleet.mu.Lock()
	defer r.fleet.mu.Unlock()
	r.survey(targets)
	return !r.linked
}
