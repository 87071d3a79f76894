// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"time"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
	"github.com/bauxite/caddy-kvaware/radixcache"
)

// Offload is what is known to be kept of a prompt outside the GPU of an
// upstream, in tokens from its beginning. It counts where the GPU holds less,
// and is not predicted to be cached.
type Offload struct {
	CPU     int // in CPU memory
	Storage int // there, or on disk or remote; at least CPU
}

// offloaded returns what the tiers beside u add to so many tokens of the prompt
// on its GPU, in tokens there.
func (r *Request) offloadWorth(t Candidate, u *upstream, onGPU int) int {
	o := Offload{Storage: max(r.tokensIn(u.sentBlocks), r.tokensIn(u.heldBlocks))}
	if t.Offload != nil {
		o = *t.Offload
	}
	memory := max(0, o.CPU-onGPU)
	disk := max(0, o.Storage-max(o.CPU, onGPU))
	return int(float64(memory)*r.offloadWeights[kvevents.CPU] + float64(disk)*r.offloadWeights[kvevents.Disk])
}

// Lose notes that the engine at an address has lost its KV cache, as after a
// restart. What it was sent may be outside its GPU still, if it keeps blocks
// there too. It reports whether the upstream is known.
func (rt *Router) CacheLost(address string) bool {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	u := rt.upstreams[address]
	if u != nil {
		rt.cacheLost(u)
	}
	return u != nil
}

// lose notes that u has lost its KV cache. The caller holds mu.
func (rt *Router) cacheLost(u *upstream) {
	if u.offloads {
		rt.forgetGPU(u)
	} else {
		rt.forget(u)
	}
}

func anyOffload(targets []Candidate) bool {
	for i := range targets {
		if o := targets[i].Offload; o != nil && o.Storage > 0 {
			return true
		}
	}
	return false
}

// Outlook is what was known of a prompt where it went, when it was routed; all
// in tokens from its beginning.
type Prediction struct {
	OnGPU            int // predicted to be on the upstream's GPU
	EverSent         int // the upstream holds it, or was sent it at some time
	Longest          int // the same, of the upstream that has most: also of one that cannot be picked
	LongestCandidate int // the same, of those that could be picked, where blocks are kept outside GPUs
	// Blocks is how many blocks of the chain Most stands for, and At who has them.
	LongestBlocks int
	LongestAt     string
	// Offload is what the target said, or the upstream's events.
	Offload Offload
	// Wait is how long it is predicted to wait until its prefill can begin, and
	// PerToken what a token of it costs.
	Wait, PerToken time.Duration
}

// Outlook returns the latest attempt's.
func (r *Request) Prediction() Prediction {
	r.router.mu.Lock()
	defer r.router.mu.Unlock()
	return r.prediction
}

// look notes the outlook on surveyed target i. The caller holds mu.
func (r *Request) predict(i int, offload *Offload) {
	s := &r.router.scratch
	u, c, held := s.upstreams[i], &s.candidates[i], s.prefixMatches[i].tokens
	sent := max(held, r.tokensIn(u.sentBlocks), r.tokensIn(u.heldBlocks))
	o := Prediction{OnGPU: held, EverSent: sent, Longest: max(sent, r.tokensIn(r.longestBlocks)), LongestCandidate: sent, LongestBlocks: int(r.longestBlocks), Wait: c.Wait, PerToken: c.PerToken}
	if r.longestOn != nil {
		o.LongestAt = r.longestOn.address
	}
	if offload != nil {
		o.Offload = *offload
	}
	if gpu, memory := r.splitByTier(u, s.prefixMatches[i]); gpu < held {
		o.OnGPU = gpu
		o.Offload.CPU, o.Offload.Storage = max(o.Offload.CPU, memory), max(o.Offload.Storage, held)
	}
	if r.offloadWeights != nil { // nobody asks otherwise
		for k, other := range s.upstreams {
			o.LongestCandidate = max(o.LongestCandidate, s.prefixMatches[k].tokens, r.tokensIn(other.sentBlocks), r.tokensIn(other.heldBlocks))
		}
	}
	r.prediction = o
}

// tiersOf returns how much of what u is predicted to hold is on its GPU, and
// how much there or in CPU memory, by its events; all of it where those do not
// tell.
func (r *Request) splitByTier(u *upstream, held prefixMatch) (gpu, memory int) {
	w := u.followed
	if !held.byEvents || w == nil || w.evaluation != r.router.evaluation || w.tokens == 0 || held.tokens != r.eventMatch(u).tokens {
		return held.tokens, held.tokens
	}
	share := func(tokens int) int { return int(int64(held.tokens) * int64(tokens) / int64(w.tokens)) }
	return held.tokens - share(w.outsideGPU[kvevents.CPU]+w.outsideGPU[kvevents.Disk]), held.tokens - share(w.outsideGPU[kvevents.Disk])
}

// longest returns how many blocks of the prompt the upstream has, or was sent,
// that has most of it, and notes which that is.
func (r *Request) findLongest(matches []radixcache.Match) (blocks int32) {
	r.longestOn = nil
	for _, m := range matches {
		if m.Blocks <= blocks {
			continue
		}
		if u := r.router.byID.find(m.Upstream); u != nil {
			blocks, r.longestOn = m.Blocks, u
		}
	}
	return blocks
}
