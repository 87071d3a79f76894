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
	fleet    *Router
	chain    []uint64
	epoch    uint64
	prompt   int // tokens
	perBlock int // tokens
	stream   bool
	cut      bool

	// For what engines say of themselves, see residency.go.
	lineage    TokenKey
	ends       []MessageEnd
	bytes      int
	blockBytes int
	estimate   int  // tokens, before any were known
	linked     bool // see Linked
	offloads   *[3]float64

	most    int32     // blocks, see Outlook; covered by the fleet's mu
	mostOn  *upstream // nil: nobody has any
	outlook Prediction

	// Of the attempt under way; covered by the fleet's mu.
	on          *upstream // nil: none
	reservation reservation
	held        int // blocks that were known there before this attempt
	before      int // blocks that had been sent there before it, -1: not tracked
	cached      int // prompt tokens predicted to be cached there
	uncached    int // that it is predicted to compute
	own         int // what would be predicted from what was sent there
	byEvents    bool
	sent        time.Time
	pinned      int64         // tokens, see blocks
	took        time.Duration // its prefill, as predicted
	begun       time.Time     // when its first token was there
	confirmed   bool
	first       bool
	reported    bool
	service     service // to learn from at the end, when what was cached is known
	depths      []depth // of its blocks there
	depthsArray [followedPerPrompt]depth
}

// NewRequest starts following a request. Nothing is recorded yet.
func (f *Router) NewRequest(p Prompt) *Request {
	return &Request{
		fleet:    f,
		chain:    p.Chain,
		epoch:    p.Epoch,
		prompt:   max(1, p.Tokens),
		perBlock: max(1, p.BlockTokens),
		stream:   p.Stream,
		cut:      p.Truncated,
		lineage:  p.TokenKey,
		ends:     p.MessageEnds,
		bytes:    p.Bytes,
		estimate: max(1, p.Tokens),
		offloads: p.OffloadWeights,

		blockBytes: p.BlockBytes,
	}
}

// Tokens returns the prompt's length as estimated.
func (r *Request) Tokens() int { return r.prompt }

// current reports whether the chain still means anything.
// The caller holds mu.
func (r *Request) current() bool { return r.epoch == r.fleet.epoch }

// depart records that the request is sent to u, which is predicted to hold
// that much of it. The caller holds mu.
func (r *Request) depart(u *upstream, h hit) {
	r.land() // an attempt still open has failed: there is a new one
	r.on, r.cached, r.uncached, r.sent = u, h.tokens, r.prompt-h.worth, r.fleet.now()
	r.own, r.byEvents = r.cachedOn(u), h.events
	r.confirmed, r.first, r.reported = false, false, false
	r.service = service{}
	k := r.fleet.known()
	took := prefill(r.uncached, u.perToken(&k))
	u.offloads = u.offloads || r.offloads != nil
	u.footprint += int64(r.uncached)
	u.capacity.filled += int64(r.uncached)
	u.demand.add(r.sent, took)
	r.pinned, r.took = int64(r.uncached), took
	u.blocks.pinned += r.pinned
	u.load.reserve(&r.reservation, r.sent, r.uncached, took, !r.stream)
	r.depths = r.depthsArray[:0]
	if r.current() {
		r.depths = u.reuse.use(r.chain, r.perBlock, u.capacity.estimate, r.depths)
	}
	r.before = -1
	r.held = r.record(u)
	u.pending = append(u.pending, r)
	if u.followed != nil {
		u.followed.compute(r)
	}
}

// record enters the prompt as held by u and returns how many of its blocks
// were known there already. The caller holds mu.
func (r *Request) record(u *upstream) (held int) {
	if !r.current() {
		return len(r.chain)
	}
	held = r.fleet.tree.Insert(u.id, r.chain, uint32(r.perBlock))
	limit := u.capacity.limit()
	if limit > 0 || u.offloads {
		r.track(u)
	}
	if limit > 0 {
		r.fleet.tree.Trim(u.id, limit)
	}
	return held
}

// track enters the prompt as one that u was sent, which goes on to be known
// when what u holds is trimmed to its capacity, or lost while blocks are kept
// elsewhere too. The caller holds mu.
func (r *Request) track(u *upstream) {
	f := r.fleet
	if u.sent == 0 {
		if u.sent = f.tree.Register(u.address + " sent"); u.sent == 0 {
			return // the tree is full of upstreams
		}
		f.byID.set(u.sent, u)
	}
	if known := f.tree.Insert(u.sent, r.chain, uint32(r.perBlock)); r.before < 0 {
		r.before = known
	}
}

// Confirm notes that the engine has accepted the prompt: it will hold it.
// What it shares with requests still waiting for their answer is theirs no
// longer to take back.
func (r *Request) Confirm() {
	r.fleet.mu.Lock()
	defer r.fleet.mu.Unlock()
	if r.on == nil || r.confirmed {
		return
	}
	r.confirmed = true
	r.unlist()
	r.record(r.on)
	if r.cut && r.current() {
		r.fleet.cuts.add(r.on.id, r.chain, r.prompt)
	}
	for _, other := range r.on.pending {
		other.held = max(other.held, commonBlocks(other, r))
	}
}

// FirstToken notes that prefill is over: others no longer wait for it. It
// returns the time since the request was sent; ok is false when there is no
// attempt under way, or it had its first token before.
func (r *Request) FirstToken() (ttft time.Duration, ok bool) {
	r.fleet.mu.Lock()
	defer r.fleet.mu.Unlock()
	if r.on == nil || r.first {
		return 0, false
	}
	r.first = true
	r.computed()
	now := r.fleet.now()
	r.begun = now
	r.service = r.reservation.firstToken(now)
	return now.Sub(r.sent), true
}

// Reported notes what the engine says of the prompt: how many tokens it had,
// and how many of these were in its cache. An engine that has never reported
// more than 0 cached is taken for one that does not know.
func (r *Request) Reported(promptTokens, cachedTokens int) {
	r.fleet.mu.Lock()
	defer r.fleet.mu.Unlock()
	if r.on == nil || r.reported || promptTokens <= 0 || cachedTokens < 0 || cachedTokens > promptTokens {
		return
	}
	r.reported = true
	c := &r.on.capacity
	if c.told = c.told || cachedTokens > 0; !c.told || !r.current() {
		return
	}
	// In the tokens the prompt was estimated to have.
	cached := int(int64(cachedTokens) * int64(r.prompt) / int64(promptTokens))
	if r.service.tokens > 0 {
		r.service.tokens = max(1, r.service.tokens+r.prompt-r.uncached-cached)
	}
	if r.offloads != nil && cached > r.cached {
		return
	}
	if r.byEvents && r.on.followed != nil {
		r.on.followed.judge(r.fleet.now(), r.cached, r.own, cached, r.prompt)
	}
	r.shown(cached)
}

// shown takes in how many tokens of the prompt were in the cache. The caller
// holds mu.
func (r *Request) shown(cached int) {
	c := &r.on.capacity
	if r.cut {
		return
	}
	if !r.byEvents && c.restarted(r.cached, cached) {
		r.fleet.lose(r.on)
		return
	}
	c.learn(r.depths, (cached+r.perBlock/2)/r.perBlock)
}

// End releases everything that is reserved. An attempt that was not confirmed
// takes back what it has recorded.
func (r *Request) End() {
	r.fleet.mu.Lock()
	defer r.fleet.mu.Unlock()
	r.land()
}

// land ends the attempt under way. The caller holds mu.
func (r *Request) land() {
	if r.on == nil {
		return
	}
	if !r.confirmed {
		r.takeBack()
	}
	r.learn()
	r.computed()
	now := r.fleet.now()
	r.on.blocks.pinned -= r.pinned
	if r.first && r.stream {
		r.fleet.holding.learn(r.took + now.Sub(r.begun))
	}
	r.reservation.end(now)
	r.on = nil
}

// computed notes that the prompt is not being computed any more. The caller
// holds mu.
func (r *Request) computed() {
	if r.on.followed != nil {
		r.on.followed.computed(r)
	}
}

// learn takes in what the time of this request's first token tells. The caller
// holds mu.
func (r *Request) learn() {
	s := r.service
	r.service = service{}
	if s.tokens <= 0 {
		return
	}
	u, f := r.on, r.fleet
	if waiting, _ := u.foreign(f.now()); waiting > 0 {
		return // in that time it may have computed what others have sent
	}
	if !u.capacity.told && !r.byEvents && s.tokens == r.prompt-r.cached && r.current() {
		k := f.known()
		held, sure := inferHeld(s.took, r.prompt, r.cached, u.perToken(&k))
		if sure {
			r.shown(held)
		}
		if sure && held < r.cached {
			return // it was the cache, and says nothing of the cost
		}
	}
	f.learn(u, s)
}

// takeBack removes what this attempt recorded, but for what another request
// has recorded as well. The caller holds mu.
func (r *Request) takeBack() {
	r.unlist()
	u := r.on
	u.footprint = max(0, u.footprint-int64(r.uncached))
	if r.held >= len(r.chain) || !r.current() {
		return
	}
	r.fleet.tree.Cut(u.id, r.chain, r.held)
	if u.sent != 0 {
		r.fleet.tree.Cut(u.sent, r.chain, max(r.held, r.before))
	}
	for _, other := range u.pending {
		// The claim is the other request's now, to keep or to take back.
		if commonBlocks(other, r) > r.held {
			other.held = min(other.held, other.record(u))
		}
	}
}

// unlist takes the request off its upstream's pending ones.
func (r *Request) unlist() {
	if i := slices.Index(r.on.pending, r); i >= 0 {
		r.on.pending = slices.Delete(r.on.pending, i, i+1)
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
