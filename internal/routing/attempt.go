// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
	"time"
)

// attempt is one try to send a request to one upstream. The router's mu guards
// it.
type attempt struct {
	upstream     *upstream // nil: no attempt is under way
	identity     *Identity // of the prompt there
	reservation  reservation
	knownBlocks  int  // blocks recorded as held there before this attempt
	sentBlocks   int  // blocks recorded as sent there before it, -1: not tracked
	cached       int  // prompt tokens predicted to be cached there
	onGPU        int  // of these, the ones predicted to be on its GPU
	stored       int  // tokens known to be there, or outside its GPU, see prefixMatch
	assumed      int  // tokens after these that may be outside its GPU
	cachedBySent int  // like cached, without the upstream's events
	byEvents     bool // the prediction is from the upstream's events
	mapped       mappedPrefix
	uncached     int // prompt tokens it is predicted to compute
	sentAt       time.Time
	prefill      time.Duration // predicted
	firstTokenAt time.Time
	busyBefore   time.Duration // its upstream's time with prefill, up to firstTokenAt

	confirmed     bool
	hasFirstToken bool
	reported      bool
	sample        prefillSample // learned from at the end, when the cached tokens are known
	depths        []depth       // of its blocks there
	depthsArray   [sampledPerPrompt]depth
}

// startAttempt records that the request is sent to u, which is predicted to hold
// a part of it. The caller holds mu.
func (r *Request) startAttempt(u *upstream, m prefixMatch) {
	r.endAttempt() // one still open has failed: there is a new one
	rt, now := r.router, r.router.now()
	uncached := r.promptTokens - m.weighted
	k := rt.averages()
	r.attempt = attempt{
		upstream:     u,
		identity:     r.on(u),
		sentBlocks:   -1,
		cached:       m.tokens,
		onGPU:        m.tokens - r.external(u, m),
		stored:       m.stored,
		assumed:      m.assumed,
		cachedBySent: r.matchBySent(u),
		byEvents:     m.byEvents,
		mapped:       r.mappedOn(u),
		uncached:     uncached,
		sentAt:       now,
		prefill:      prefill(uncached, u.perToken(&k)),
	}
	a := &r.attempt
	if m.offloaded > 0 {
		a.cachedBySent = max(a.cachedBySent, m.tokens)
	}
	u.offloads = r.tierWeights(u) != nil || u.offloads
	u.footprint += int64(uncached)
	u.capacity.filled += int64(uncached)
	u.demand.add(now, a.prefill)
	u.cacheUsage.pinned += int64(uncached)
	u.queue.reserve(&a.reservation, now, uncached, a.prefill, !r.stream)
	r.countWork()
	u.backlog.started++
	a.depths = a.depthsArray[:0]
	if r.isCurrent() {
		a.depths = u.reuse.use(a.identity.Chain, r.blockTokens, u.capacity.estimate, a.depths)
	}
	a.knownBlocks = r.record(u)
	u.pending = append(u.pending, r)
	if u.followed != nil {
		u.followed.startPrefill(r)
	}
}

// endAttempt ends the attempt under way, if there is one. The caller holds mu.
func (r *Request) endAttempt() {
	a := &r.attempt
	if a.upstream == nil {
		return
	}
	now := r.router.now()
	if a.confirmed {
		a.upstream.backlog.ended++
		r.learnCost()
		if a.hasFirstToken && r.stream {
			r.router.blockLifetime.learn(a.prefill + now.Sub(a.firstTokenAt))
			r.learnBatchCost(now)
		}
	} else {
		r.undo() // a failed or refused attempt looks fast and teaches nothing
	}
	r.endPrefill()
	a.upstream.cacheUsage.pinned -= int64(a.uncached)
	a.reservation.release(now)
	a.upstream = nil
}

// record enters the prompt as held by u and returns the number of its blocks that
// were known there before. The caller holds mu.
func (r *Request) record(u *upstream) (known int) {
	if !r.isCurrent() {
		return len(r.attempt.identity.Chain)
	}
	known = r.router.tree.Insert(u.id, r.attempt.identity.Chain, uint32(r.blockTokens))
	limit := u.capacity.treeLimit()
	if limit > 0 || u.offloads {
		r.recordSent(u)
	}
	if limit > 0 {
		r.router.tree.Trim(u.id, limit)
	}
	return known
}

// recordSent enters the prompt as sent to u. This record stays when the record
// of what u holds is trimmed to its capacity, or dropped while u keeps blocks
// elsewhere too. The caller holds mu.
func (r *Request) recordSent(u *upstream) {
	rt := r.router
	if u.sentID == 0 {
		if u.sentID = rt.tree.Register(u.address + " sent"); u.sentID == 0 {
			return // the tree is full of upstreams
		}
		rt.byID.set(u.sentID, u)
	}
	known := rt.tree.Insert(u.sentID, r.attempt.identity.Chain, uint32(r.blockTokens))
	if r.attempt.sentBlocks < 0 {
		r.attempt.sentBlocks = known
	}
}

// undo removes what this attempt recorded, except blocks that another request
// has recorded as well. The caller holds mu.
func (r *Request) undo() {
	r.removePending()
	a := &r.attempt
	u := a.upstream
	u.footprint = max(0, u.footprint-int64(a.uncached))
	u.capacity.filled = max(0, u.capacity.filled-int64(a.uncached))
	chain := a.identity.Chain
	if a.knownBlocks >= len(chain) || !r.isCurrent() {
		return
	}
	r.router.tree.Cut(u.id, chain, a.knownBlocks)
	if u.sentID != 0 {
		r.router.tree.Cut(u.sentID, chain, max(a.knownBlocks, a.sentBlocks))
	}
	for _, other := range u.pending {
		// The blocks are the other request's now, to keep or to take back.
		if other.commonBlocks(r, a.identity) > a.knownBlocks {
			other.attempt.knownBlocks = min(other.attempt.knownBlocks, other.record(u))
		}
	}
}

// removePending takes the request off its upstream's pending ones.
func (r *Request) removePending() {
	u := r.attempt.upstream
	if i := slices.Index(u.pending, r); i >= 0 {
		u.pending = slices.Delete(u.pending, i, i+1)
	}
}

// endPrefill notes that the prompt is no longer being computed. The caller
// holds mu.
func (r *Request) endPrefill() {
	if followed := r.attempt.upstream.followed; followed != nil {
		followed.endPrefill(r)
	}
}

// computed returns the prompt tokens that the upstream has computed, given those it
// reports as cached. Of the latter, some were not on its GPU: loading them takes as long
// as computing the tokens that are added for it.
func (r *Request) computed(cached int) int {
	a := &r.attempt
	tokens := r.promptTokens - cached
	if external := a.cached - a.onGPU; external > 0 {
		load := max(0, a.cached-(r.promptTokens-a.uncached))
		tokens += load * min(max(0, cached-a.onGPU), external) / external
	}
	return tokens
}

// learnCached learns from the number of prompt tokens that were in the cache.
// The caller holds mu.
func (r *Request) learnCached(cached int) {
	a := &r.attempt
	c := &a.upstream.capacity
	switch {
	case r.truncated, r.noCache, r.doubtful:
	case !a.byEvents && c.restarted(a.onGPU, cached):
		r.router.cacheLost(a.upstream)
	default:
		c.learn(a.depths, (cached+r.blockTokens/2)/r.blockTokens, r.blockTokens)
	}
}

// learnBatchCost learns from the time of the answer, which ends now. The time in
// which its upstream had prefill to do is left out: most of it the answer stood
// still. The caller holds mu.
func (r *Request) learnBatchCost(now time.Time) {
	a := &r.attempt
	q := &a.upstream.queue
	prefilling := q.busyUntil(now) - a.busyBefore
	r.router.batchCost.learn(now.Sub(a.firstTokenAt)-prefilling, q.requests-q.queued-1)
}

// learnCost learns from the time of the attempt's first token. The caller holds
// mu.
func (r *Request) learnCost() {
	a, rt := &r.attempt, r.router
	u, s := a.upstream, a.sample
	a.sample = prefillSample{}
	if s.tokens <= 0 {
		return
	}
	if waiting, _ := u.foreignRequests(rt.now()); waiting > 0 {
		return // in that time it may have computed what others have sent
	}
	if !u.capacity.reportsCached && !a.byEvents && a.onGPU == a.cached && s.tokens == r.promptTokens-a.cached && r.isCurrent() {
		k := rt.averages()
		cached, confident := inferCached(s.took, r.promptTokens, a.cached, u.perToken(&k))
		if confident {
			r.learnCached(cached)
		}
		if confident && cached < a.cached {
			return // the time was the cache's fault and says nothing about the cost
		}
	}
	rt.learnCost(u, s)
}
