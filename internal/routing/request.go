// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"time"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
)

// Prompt describes the prompt of a request to the router.
type Prompt struct {
	// Chain holds the prompt's block hashes, each of which covers all blocks
	// before it. It is kept, and must not change.
	Chain []uint64
	// Tokens is the prompt's estimated length; at least 1.
	Tokens int
	// BlockTokens is the estimated number of tokens in a block of the chain.
	BlockTokens int
	// Epoch is the router's epoch in which the chain was made, see Router.Clear.
	Epoch uint64
	// Stream says that the answer is streamed, so its first token can be seen.
	Stream bool
	// Truncated says that the chain ends before the prompt does, because only
	// its first messages are tracked. What an engine reports of such a prompt
	// says nothing about the size of its cache.
	Truncated bool
	// NoCache says that the engine computes the whole prompt, whatever it has
	// cached. It files the blocks as ever.
	NoCache bool
	// Doubtful says that some engines render a large part of the prompt in another
	// way than the chain says, so the cached tokens that it reports teach nothing.
	Doubtful bool
	// Bytes is the length of the text that Tokens was estimated from, and
	// BlockBytes the length of one block of it. 0: the prompt is not all text.
	Bytes, BlockBytes int
	// MessageEnds are the ends of the last messages, first message first. Like
	// TokenKey and Bytes they are for upstreams whose events are followed.
	MessageEnds []MessageEnd
	// TokenKey says which prompts have comparable tokens.
	TokenKey TokenKey
	// OffloadWeights says that the engines keep KV blocks outside their GPU too,
	// and what a token in each kvevents.Tier counts; nil: they do not. Blocks
	// that an upstream was sent and no longer holds on its GPU are then taken to
	// be on its disk, unless the candidate says better or answers refute it. Cached
	// tokens that such an engine reports include those it has loaded from there, and
	// say nothing about the size of its GPU's cache.
	OffloadWeights *kvevents.TierWeights
}

// MessageEnd is the end of a message in a prompt's text.
type MessageEnd struct {
	Bytes    int    // length of the text up to there
	Hash     uint64 // covers all of that text
	Answered bool   // the next message is the model's
}

// Request is the router's state for one request, over all its attempts. It
// remembers what was recorded for an attempt, so that exactly that can be taken
// back. After Route or Assign, call Confirm when the engine has accepted the
// request, FirstToken, and End. Without Confirm, End takes the records back.
//
// Its methods are safe for concurrent use. They may be called at any time and
// more than once; a call that makes no sense at that point does nothing.
type Request struct {
	router      *Router
	own         Identity
	epoch       uint64
	blockTokens int
	stream      bool
	truncated   bool
	noCache     bool
	doubtful    bool

	// For upstreams whose events are followed, see tokenMatch.
	promptBytes     int
	blockBytes      int
	estimatedTokens int // from the text alone
	offloadWeights  *kvevents.TierWeights

	// The router's mu guards these.
	promptTokens int
	tokensKnown  bool       // see TokensKnown
	prediction   Prediction // of the latest attempt
	attempt      attempt
	shedding     shedding
}

// NewRequest returns the state for a request. Nothing is recorded yet.
func (rt *Router) NewRequest(p Prompt) *Request {
	return &Request{
		router:          rt,
		own:             Identity{Chain: p.Chain, MessageEnds: p.MessageEnds, TokenKey: p.TokenKey},
		epoch:           p.Epoch,
		blockTokens:     max(1, p.BlockTokens),
		stream:          p.Stream,
		truncated:       p.Truncated,
		noCache:         p.NoCache,
		doubtful:        p.Doubtful,
		promptBytes:     p.Bytes,
		blockBytes:      p.BlockBytes,
		estimatedTokens: max(1, p.Tokens),
		offloadWeights:  p.OffloadWeights,
		promptTokens:    max(1, p.Tokens),
	}
}

// Tokens returns the prompt's estimated length.
func (r *Request) Tokens() int {
	r.router.mu.Lock()
	defer r.router.mu.Unlock()
	return r.promptTokens
}

// TokensKnown reports whether the latest evaluation knew the tokens of the whole
// prompt in the block size of every followed upstream, so that they need not be
// fetched. While no upstream is followed it returns false: upstreams that are
// followed later will need them.
func (r *Request) TokensKnown() bool {
	r.router.mu.Lock()
	defer r.router.mu.Unlock()
	return r.tokensKnown && r.router.followed > 0
}

// NeedsTokens reports, for a request that is still to be routed, whether some
// followed candidate cannot be matched by the whole prompt's tokens. One that would
// be refused needs none.
func (r *Request) NeedsTokens(candidates []Candidate) bool {
	r.router.mu.Lock()
	defer r.router.mu.Unlock()
	r.evaluate(candidates)
	_, refused := r.refused()
	return !r.tokensKnown && !refused
}

// Confirm notes that the engine has accepted the prompt: it will hold it.
// Blocks shared with requests that still wait for their answer stay when those
// are taken back.
func (r *Request) Confirm() {
	r.router.mu.Lock()
	defer r.router.mu.Unlock()
	a := &r.attempt
	if a.upstream == nil || a.confirmed {
		return
	}
	a.confirmed = true
	r.removePending()
	r.record(a.upstream)
	if r.truncated && r.isCurrent() {
		r.router.truncated.add(a.upstream.id, a.identity.Chain, r.promptTokens)
	}
	for _, other := range a.upstream.pending {
		other.attempt.knownBlocks = max(other.attempt.knownBlocks, other.commonBlocks(r, a.identity))
	}
}

// FirstToken notes that prefill is over: others no longer wait for it. It
// returns the time since the request was sent; ok is false when no attempt is
// under way, or its first token was noted before.
func (r *Request) FirstToken() (ttft time.Duration, ok bool) {
	r.router.mu.Lock()
	defer r.router.mu.Unlock()
	a := &r.attempt
	if a.upstream == nil || a.hasFirstToken {
		return 0, false
	}
	r.endPrefill()
	now := r.router.now()
	a.hasFirstToken, a.firstTokenAt = true, now
	a.sample = a.reservation.firstToken(now)
	a.busyBefore = a.upstream.queue.busyUntil(now)
	return now.Sub(a.sentAt), true
}

// Reported notes the engine's counts: the prompt's tokens, and those of them
// that were in its cache. An engine that has only ever reported 0 cached tokens
// is taken for one that does not know.
func (r *Request) Reported(promptTokens, cachedTokens int) {
	r.router.mu.Lock()
	defer r.router.mu.Unlock()
	a := &r.attempt
	if a.upstream == nil || a.reported || promptTokens <= 0 || cachedTokens < 0 || cachedTokens > promptTokens {
		return
	}
	a.reported = true
	c := &a.upstream.capacity
	c.reportsCached = c.reportsCached || cachedTokens > 0
	if !c.reportsCached || !r.isCurrent() {
		return
	}
	// In the tokens the prompt was estimated to have.
	cached := int(int64(cachedTokens) * int64(r.promptTokens) / int64(promptTokens))
	if a.sample.tokens > 0 {
		a.sample.tokens = max(1, a.sample.tokens+r.computed(cached)-a.uncached)
	}
	if r.noCache || r.doubtful {
		return
	}
	offloads := r.tierWeights(a.upstream) != nil
	if offloads {
		a.upstream.offloadShare.learn(a.assumed, cached-a.stored)
		if cached > a.cached {
			return
		}
	}
	if a.byEvents && a.upstream.followed != nil {
		a.upstream.followed.checkPrediction(r.router.now(), a.cached, a.cachedBySent, cached, r.promptTokens)
	}
	if offloads && cached > a.onGPU {
		return // what the engine has loaded it may have had on its GPU too, or not
	}
	r.contradictEvents(promptTokens, cachedTokens)
	r.learnCached(cached)
}

// End releases everything that is reserved. An attempt that was not confirmed
// takes back what it has recorded.
func (r *Request) End() {
	r.router.mu.Lock()
	defer r.router.mu.Unlock()
	r.endAttempt()
}

// isCurrent reports whether the chain still means anything. The caller holds mu.
func (r *Request) isCurrent() bool { return r.epoch == r.router.epoch }

// tokensIn converts matched blocks to prompt tokens. The last token of a prompt
// is always computed: its output is the first token of the answer.
func (r *Request) tokensIn(blocks int32) int {
	return min(int(blocks)*r.blockTokens, r.promptTokens-1)
}

// commonBlocks returns the number of blocks that the prompt of the attempt under way
// shares from the start with another prompt, which has that identity there. An equal
// hash means an equal prefix, because each hash covers all before it.
func (r *Request) commonBlocks(other *Request, identity *Identity) int {
	if r.epoch != other.epoch {
		return 0
	}
	a, b := r.attempt.identity.Chain, identity.Chain
	low, high := 0, min(len(a), len(b))
	for low < high {
		if mid := (low + high + 1) / 2; a[mid-1] == b[mid-1] {
			low = mid
		} else {
			high = mid - 1
		}
	}
	return low
}
