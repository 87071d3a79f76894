// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
	"time"
)

// Prompt is what routing needs to know of a request.
type Prompt struct {
	// Chain is the prompt's block hashes, each of which commits to all before
	// it. It is kept, and must not change.
	Chain []uint64
	// Tokens is the prompt's length, as estimated; at least 1.
	Tokens int
	// BlockTokens is how many tokens a block of the chain stands for.
	BlockTokens int
	// Epoch is the fleet's when the chain was made, see Fleet.Clear.
	Epoch uint64
	// Stream says that the answer will tell when its first token is there.
	Stream bool
	// Cut says that the chain ends before the prompt does, because only its
	// first messages are tracked. What an engine reports of such a prompt says
	// nothing of its cache's size.
	Truncated bool
	// Bytes is the length of the text, and BlockBytes that of a block of it: the
	// measure for Tokens. 0: it is not all text.
	Bytes, BlockBytes int
	// Ends is where the last messages end in the text, first message first. Like
	// Lineage and Bytes it is for upstreams whose events are followed.
	MessageEnds []MessageEnd
	// Lineage is what the engines' blocks commit to beside the tokens.
	TokenKey TokenKey
	// Offloads says that the engines keep KV blocks outside their GPU too: what a
	// token in each kvevents.Tier counts. What an upstream was sent and does not
	// hold on its GPU any more is taken to be on its disk, where no target says
	// better. And what such engines report as cached can be more than the GPU
	// held, and says nothing of its size. nil: they do not.
	OffloadWeights *[3]float64
}

// End is where a message ends in a prompt's text: after so many bytes, with a
// hash that commits to all of them. Answered says that the message behind it is
// the model's.
type MessageEnd struct {
	Bytes    int
	Hash     uint64
	Answered bool
}

// Request is one request on its way through the fleet: what was recorded for
// it, so that exactly that can be taken back. After Route or Assign it is
// Confirm'ed when the engine has accepted it, has its FirstToken, and ends;
// or it ends without, and then what it added is taken back.
//
// Its methods are safe for concurrent use. All may be called at any time and
// more than once; what makes no sense at that point does nothing.
type Request struct {
	router       *Router
	chain        []uint64
	epoch        uint64
	promptTokens int // tokens
	blockTokens  int // tokens
	stream       bool
	truncated    bool

	// For what engines say of themselves, see residency.go.
	tokenKey        TokenKey
	messageEnds     []MessageEnd
	promptBytes     int
	blockBytes      int
	estimatedTokens int  // tokens, before any were known
	tokensKnown     bool // see Linked
	offloadWeights  *[3]float64

	longestBlocks int32     // blocks, see Outlook; covered by the fleet's mu
	longestOn     *upstream // nil: nobody has any
	prediction    Prediction

	// Of the attempt under way; covered by the fleet's mu.
	upstream      *upstream // nil: none
	reservation   reservation
	knownBlocks   int // blocks that were known there before this attempt
	sentBlocks    int // blocks that had been sent there before it, -1: not tracked
	cached        int // prompt tokens predicted to be cached there
	uncached      int // that it is predicted to compute
	cachedBySent  int // what would be predicted from what was sent there
	byEvents      bool
	sentAt        time.Time
	pinned        int64         // tokens, see blocks
	prefill       time.Duration // its prefill, as predicted
	firstTokenAt  time.Time     // when its first token was there
	confirmed     bool
	hasFirstToken bool
	reported      bool
	sample        prefillSample // to learn from at the end, when what was cached is known
	depths        []depth       // of its blocks there
	depthsArray   [sampledPerPrompt]depth
}

// NewRequest starts following a request. Nothing is recorded yet.
func (rt *Router) NewRequest(p Prompt) *Request {
	return &Request{
		router:          rt,
		chain:           p.Chain,
		epoch:           p.Epoch,
		promptTokens:    max(1, p.Tokens),
		blockTokens:     max(1, p.BlockTokens),
		stream:          p.Stream,
		truncated:       p.Truncated,
		tokenKey:        p.TokenKey,
		messageEnds:     p.MessageEnds,
		promptBytes:     p.Bytes,
		estimatedTokens: max(1, p.Tokens),
		offloadWeights:  p.OffloadWeights,

		blockBytes: p.BlockBytes,
	}
}

// Tokens returns the prompt's length as estimated.
func (r *Request) Tokens() int { return r.promptTokens }

// current reports whether the chain still means anything.
// The caller holds mu.
func (r *Request) isCurrent() bool { return r.epoch == r.router.epoch }

// depart records that the request is sent to u, which is predicted to hold
// that much of it. The caller holds mu.
func (r *Request) startAttempt(u *upstream, h prefixMatch) {
	r.endAttempt() // an attempt still open has failed: there is a new one
	r.upstream, r.cached, r.uncached, r.sentAt = u, h.tokens, r.promptTokens-h.weighted, r.router.now()
	r.cachedBySent, r.byEvents = r.matchBySent(u), h.byEvents
	r.confirmed, r.hasFirstToken, r.reported = false, false, false
	r.sample = prefillSample{}
	k := r.router.averages()
	took := prefill(r.uncached, u.perToken(&k))
	u.offloads = u.offloads || r.offloadWeights != nil
	u.footprint += int64(r.uncached)
	u.capacity.filled += int64(r.uncached)
	u.demand.add(r.sentAt, took)
	r.pinned, r.prefill = int64(r.uncached), took
	u.cacheUsage.pinned += r.pinned
	u.queue.reserve(&r.reservation, r.sentAt, r.uncached, took, !r.stream)
	r.depths = r.depthsArray[:0]
	if r.isCurrent() {
		r.depths = u.reuse.use(r.chain, r.blockTokens, u.capacity.estimate, r.depths)
	}
	r.sentBlocks = -1
	r.knownBlocks = r.record(u)
	u.pending = append(u.pending, r)
	if u.followed != nil {
		u.followed.startPrefill(r)
	}
}

// record enters the prompt as held by u and returns how many of its blocks
// were known there already. The caller holds mu.
func (r *Request) record(u *upstream) (held int) {
	if !r.isCurrent() {
		return len(r.chain)
	}
	held = r.router.tree.Insert(u.id, r.chain, uint32(r.blockTokens))
	limit := u.capacity.treeLimit()
	if limit > 0 || u.offloads {
		r.recordSent(u)
	}
	if limit > 0 {
		r.router.tree.Trim(u.id, limit)
	}
	return held
}

// track enters the prompt as one that u was sent, which goes on to be known
// when what u holds is trimmed to its capacity, or lost while blocks are kept
// elsewhere too. The caller holds mu.
func (r *Request) recordSent(u *upstream) {
	rt := r.router
	if u.sentID == 0 {
		if u.sentID = rt.tree.Register(u.address + " sent"); u.sentID == 0 {
			return // the tree is full of upstreams
		}
		rt.byID.set(u.sentID, u)
	}
	if known := rt.tree.Insert(u.sentID, r.chain, uint32(r.blockTokens)); r.sentBlocks < 0 {
		r.sentBlocks = known
	}
}

// Confirm notes that the engine has accepted the prompt: it will hold it.
// What it shares with requests still waiting for their answer is theirs no
// longer to take back.
func (r *Request) Confirm() {
	r.router.mu.Lock()
	defer r.router.mu.Unlock()
	if r.upstream == nil || r.confirmed {
		return
	}
	r.confirmed = true
	r.removePending()
	r.record(r.upstream)
	if r.truncated && r.isCurrent() {
		r.router.truncated.add(r.upstream.id, r.chain, r.promptTokens)
	}
	for _, other := range r.upstream.pending {
		other.knownBlocks = max(other.knownBlocks, commonBlocks(other, r))
	}
}

// FirstToken notes that prefill is over: others no longer wait for it. It
// returns the time since the request was sent; ok is false when there is no
// attempt under way, or it had its first token before.
func (r *Request) FirstToken() (ttft time.Duration, ok bool) {
	r.router.mu.Lock()
	defer r.router.mu.Unlock()
	if r.upstream == nil || r.hasFirstToken {
		return 0, false
	}
	r.hasFirstToken = true
	r.endPrefill()
	now := r.router.now()
	r.firstTokenAt = now
	r.sample = r.reservation.firstToken(now)
	return now.Sub(r.sentAt), true
}

// Reported notes what the engine says of the prompt: how many tokens it had,
// and how many of these were in its cache. An engine that has never reported
// more than 0 cached is taken for one that does not know.
func (r *Request) Reported(promptTokens, cachedTokens int) {
	r.router.mu.Lock()
	defer r.router.mu.Unlock()
	if r.upstream == nil || r.reported || promptTokens <= 0 || cachedTokens < 0 || cachedTokens > promptTokens {
		return
	}
	r.reported = true
	c := &r.upstream.capacity
	if c.reportsCached = c.reportsCached || cachedTokens > 0; !c.reportsCached || !r.isCurrent() {
		return
	}
	// In the tokens the prompt was estimated to have.
	cached := int(int64(cachedTokens) * int64(r.promptTokens) / int64(promptTokens))
	if r.sample.tokens > 0 {
		r.sample.tokens = max(1, r.sample.tokens+r.promptTokens-r.uncached-cached)
	}
	if r.offloadWeights != nil && cached > r.cached {
		return
	}
	if r.byEvents && r.upstream.followed != nil {
		r.upstream.followed.checkPrediction(r.router.now(), r.cached, r.cachedBySent, cached, r.promptTokens)
	}
	r.learnCached(cached)
}

// shown takes in how many tokens of the prompt were in the cache. The caller
// holds mu.
func (r *Request) learnCached(cached int) {
	c := &r.upstream.capacity
	if r.truncated {
		return
	}
	if !r.byEvents && c.restarted(r.cached, cached) {
		r.router.cacheLost(r.upstream)
		return
	}
	c.learn(r.depths, (cached+r.blockTokens/2)/r.blockTokens)
}

// End releases everything that is reserved. An attempt that was not confirmed
// takes back what it has recorded.
func (r *Request) End() {
	r.router.mu.Lock()
	defer r.router.mu.Unlock()
	r.endAttempt()
}

// land ends the attempt under way. The caller holds mu.
func (r *Request) endAttempt() {
	if r.upstream == nil {
		return
	}
	if !r.confirmed {
		r.undo()
	}
	r.learnCost()
	r.endPrefill()
	now := r.router.now()
	r.upstream.cacheUsage.pinned -= r.pinned
	if r.hasFirstToken && r.stream {
		r.router.blockLifetime.learn(r.prefill + now.Sub(r.firstTokenAt))
	}
	r.reservation.release(now)
	r.upstream = nil
}

// computed notes that the prompt is not being computed any more. The caller
// holds mu.
func (r *Request) endPrefill() {
	if r.upstream.followed != nil {
		r.upstream.followed.endPrefill(r)
	}
}

// learn takes in what the time of this request's first token tells. The caller
// holds mu.
func (r *Request) learnCost() {
	s := r.sample
	r.sample = prefillSample{}
	if s.tokens <= 0 {
		return
	}
	u, rt := r.upstream, r.router
	if waiting, _ := u.foreignRequests(rt.now()); waiting > 0 {
		return // in that time it may have computed what others have sent
	}
	if !u.capacity.reportsCached && !r.byEvents && s.tokens == r.promptTokens-r.cached && r.isCurrent() {
		k := rt.averages()
		held, sure := inferCached(s.took, r.promptTokens, r.cached, u.perToken(&k))
		if sure {
			r.learnCached(held)
		}
		if sure && held < r.cached {
			return // it was the cache, and says nothing of the cost
		}
	}
	rt.learn(u, s)
}

// takeBack removes what this attempt recorded, but for what another request
// has recorded as well. The caller holds mu.
func (r *Request) undo() {
	r.removePending()
	u := r.upstream
	u.footprint = max(0, u.footprint-int64(r.uncached))
	if r.knownBlocks >= len(r.chain) || !r.isCurrent() {
		return
	}
	r.router.tree.Cut(u.id, r.chain, r.knownBlocks)
	if u.sentID != 0 {
		r.router.tree.Cut(u.sentID, r.chain, max(r.knownBlocks, r.sentBlocks))
	}
	for _, other := range u.pending {
		// The claim is the other request's now, to keep or to take back.
		if commonBlocks(other, r) > r.knownBlocks {
			other.knownBlocks = min(other.knownBlocks, other.record(u))
		}
	}
}

// unlist takes the request off its upstream's pending ones.
func (r *Request) removePending() {
	if i := slices.Index(r.upstream.pending, r); i >= 0 {
		r.upstream.pending = slices.Delete(r.upstream.pending, i, i+1)
	}
}

// commonBlocks returns how many blocks two prompts share from the start. An
// equal hash means an equal prefix, because each hash covers all before it.
func commonBlocks(a, b *Request) int {
	if a.epoch != b.epoch {
		return 0
	}
	low, high := 0, min(len(a.chain), len(b.chain))
	for low < high {
		if mid := (low + high + 1) / 2; a.chain[mid-1] == b.chain[mid-1] {
			low = mid
		} else {
			high = mid - 1
		}
	}
	return low
}
