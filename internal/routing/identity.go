// SPDX-License-Identifier: Apache-2.0

package routing

import "github.com/bauxite/caddy-kvaware/radixcache"

// Identity is a prompt under one lineage of its model: what is recorded and found
// of it at the upstreams where its model's name stands for that lineage. It must
// not change once it was passed to the router.
type Identity struct {
	// Chain holds the prompt's block hashes, each of which covers all blocks before
	// it, and the lineage.
	Chain []uint64
	// MessageEnds are the ends of the last messages, first message first. Like
	// TokenKey they are for upstreams whose events are followed.
	MessageEnds []MessageEnd
	// TokenKey says which prompts have comparable tokens.
	TokenKey TokenKey
}

// on returns the prompt's identity on an upstream, as the latest evaluation was told.
// The caller holds mu.
func (r *Request) on(u *upstream) *Identity {
	if u.evaluation == r.router.evaluation && u.identity != nil {
		return u.identity
	}
	return &r.own
}

// beginEvaluation begins an evaluation of the prompt: it fills in the upstreams of
// the candidates, with the prompt's identity on each, and reports whether some have
// another than the prompt's own.
func (r *Request) beginEvaluation(candidates []Candidate) (others bool) {
	rt := r.router
	rt.evaluation++
	rt.scratch.findUpstreams(rt, candidates)
	now := rt.now()
	for i, u := range rt.scratch.upstreams {
		u.lastAvailable = now
		u.resetMatch(rt.evaluation)
		u.identity = candidates[i].Identity
		others = others || u.identity != nil
	}
	return others
}

// matchTree looks up which upstreams were sent the prompt, under each of its
// identities.
func (r *Request) matchTree(candidates []Candidate, others bool) {
	s := &r.router.scratch
	s.treeMatches, s.longestOn, s.longestBlocks = s.treeMatches[:0], nil, 0
	if !r.isCurrent() {
		return
	}
	s.treeMatches = r.router.tree.Lookup(r.own.Chain, s.treeMatches)
	r.recordMatches(s.treeMatches, &r.own)
	if !others {
		return
	}
	for i, c := range candidates {
		if c.Identity != nil && !identified(candidates[:i], c.Identity) {
			s.treeMatches = r.router.tree.Lookup(c.Identity.Chain, s.treeMatches[:0])
			r.recordMatches(s.treeMatches, c.Identity)
		}
	}
}

// identified reports whether some candidate has an identity.
func identified(candidates []Candidate, identity *Identity) bool {
	for i := range candidates {
		if candidates[i].Identity == identity {
			return true
		}
	}
	return false
}

// recordMatches stores at each upstream with an identity what the tree knows of it,
// and in the scratch which upstream has most.
func (r *Request) recordMatches(matches []radixcache.Match, identity *Identity) {
	rt := r.router
	s := &rt.scratch
	for _, m := range matches {
		u := rt.byID.find(m.Upstream)
		if u == nil {
			continue
		}
		u.resetMatch(rt.evaluation)
		if r.on(u) != identity {
			continue
		}
		if m.Blocks > s.longestBlocks {
			s.longestOn, s.longestBlocks = u, m.Blocks
		}
		if m.Upstream == u.id {
			u.heldBlocks = m.Blocks
		} else {
			u.sentBlocks = m.Blocks
		}
	}
}

// resetMatch drops what an earlier evaluation has stored.
func (u *upstream) resetMatch(evaluation uint64) {
	if u.evaluation != evaluation {
		u.evaluation, u.identity, u.heldBlocks, u.sentBlocks = evaluation, nil, 0, 0
	}
}
