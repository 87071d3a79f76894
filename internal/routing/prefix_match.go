// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"time"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
)

// prefixMatch is the part of a prompt that an upstream is predicted to hold.
type prefixMatch struct {
	tokens   int
	weighted int  // tokens on the GPU that are worth as much
	byEvents bool // the upstream's events say so

	// offloaded is the part of tokens that is predicted from what is kept outside the
	// GPU, and not by the upstream's events. assumed counts the tokens that may
	// follow the stored ones there: only what was sent to the upstream suggests it. It
	// is part of offloaded when it is believed.
	offloaded, stored, assumed int
}

// own returns the number of tokens that the upstream is predicted to hold without
// those that are known or assumed to be outside its GPU.
func (m prefixMatch) own() int { return m.tokens - m.offloaded }

// predictMatch returns the part of the prompt that u is predicted to hold. Its events
// count as far as they reach. Beyond that, and while they are not up to date,
// what was sent there counts. The caller holds mu.
func (r *Request) predictMatch(u *upstream, now time.Time) prefixMatch {
	if r.noCache {
		return prefixMatch{}
	}
	sent := r.matchBySent(u)
	bySent := prefixMatch{tokens: sent, weighted: sent}
	if u.followed == nil {
		return bySent
	}
	byEvents := r.eventMatch(u)
	switch u.followed.knowledge(now) {
	case kvevents.Unknown:
		return bySent
	case kvevents.Complete:
		if tm := r.tokenMatchOn(u); tm != nil && tm.textBlocks >= int(u.heldBlocks) {
			if tokens := r.sharedWithPrefilling(u, tm); tokens > byEvents.tokens {
				return prefixMatch{tokens: tokens, weighted: tokens, byEvents: true}
			}
			return byEvents
		}
	}
	if bySent.tokens > byEvents.tokens {
		return bySent
	}
	return byEvents
}

// matchBySent returns the number of the prompt's tokens that u holds, judging by the
// prompts sent there.
func (r *Request) matchBySent(u *upstream) int {
	cached := r.tokensIn(u.heldBlocks)
	if r.truncated && int(u.heldBlocks) == len(r.on(u).Chain) {
		cached = max(cached, min(r.router.truncated.tokens(u.id, r.on(u).Chain), r.promptTokens-1))
	}
	return cached
}

// eventMatch returns the part of the prompt that u holds according to its events. The
// engine chooses the rank for a request, so it is the mean over all ranks.
func (r *Request) eventMatch(u *upstream) prefixMatch {
	fu := u.followed
	if fu.evaluation != r.router.evaluation || fu.tokens == 0 {
		return prefixMatch{byEvents: true}
	}
	tokens := min(fu.tokens/len(fu.Ranks), r.reusable(fu.Ranks[0].BlockTokens()))
	return prefixMatch{tokens: tokens, weighted: int(float64(tokens) * fu.weighted / float64(fu.tokens)), byEvents: true}
}

// reusable returns the number of the prompt's tokens that an engine can take from its
// cache: whole blocks, and never the last token, whose output is the answer's
// first.
func (r *Request) reusable(blockTokens int) int {
	if blockTokens < 1 {
		return r.promptTokens - 1
	}
	return (r.promptTokens - 1) / blockTokens * blockTokens
}

// sharedWithPrefilling returns the number of tokens that the prompt shares with one that
// is being computed on the upstream now, whose events may not have come yet.
func (r *Request) sharedWithPrefilling(u *upstream, tm *tokenMatch) int {
	most := 0
	for _, other := range u.followed.prefilling {
		most = max(most, other.commonBlocks(r, r.on(u)))
	}
	if most == 0 || tm.textBlocks == 0 {
		return r.tokensIn(int32(most))
	}
	tokens := tm.tokens * min(most, tm.textBlocks) / tm.textBlocks
	return min(tokens/tm.blockTokens*tm.blockTokens, r.reusable(tm.blockTokens))
}
