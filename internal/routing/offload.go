// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
)

// Offload is the part of a prompt that is known to be kept outside the GPU of an
// upstream, in tokens from its beginning. Where the GPU holds less, the engine loads
// the rest, and reports it as cached.
type Offload struct {
	CPU     int // in CPU memory
	Storage int // there, or on disk or remote; at least CPU

	// Whole says that Storage is all that was asked for. A conversation's next turn
	// goes on where the turn before ended, so more may be stored.
	Whole bool
}

const (
	// The share of what an upstream was sent that is found outside its GPU is averaged
	// over some offloadMemory prompts. offloadTrust is the weight, in tokens, of the
	// assumption that all of it is: a single prompt can refute that.
	offloadMemory = 32
	offloadTrust  = 256
	// offloadBelieved is the share from which on a prompt's tokens are predicted to be
	// there: mostly all of them are, or none.
	offloadBelieved = 0.5
	// usualChunk is the number of tokens that a cache outside the GPU keeps as one where
	// that is not known: LMCache's default.
	usualChunk = 256
)

// offloadShare learns from answers which share of the tokens that an upstream was sent,
// and that its GPU has lost, the cache outside its GPU still has.
type offloadShare struct{ expected, found float64 } // tokens, fading

func (s *offloadShare) learn(expected, found int) {
	if expected <= 0 {
		return
	}
	const fade = 1 - 1.0/offloadMemory
	s.expected = s.expected*fade + float64(expected)
	s.found = s.found*fade + float64(min(max(0, found), expected))
}

func (s *offloadShare) value() float64 {
	return (s.found + offloadTrust) / (s.expected + offloadTrust)
}

// DefaultTierWeights are the weights of the tiers where none are configured.
var DefaultTierWeights = kvevents.TierWeights{kvevents.GPU: 1, kvevents.CPU: 0.8, kvevents.Disk: 0.3}

// SetExternalCache notes that the engine at an address reports prompt tokens that it has
// loaded from outside its GPU: it has a cache there, whether the config says so or not.
func (rt *Router) SetExternalCache(address string) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	rt.upstream(address).external = true
}

// tierWeights returns the weights of the tiers beside u, nil when it has none.
func (r *Request) tierWeights(u *upstream) *kvevents.TierWeights {
	if r.offloadWeights == nil && u.external {
		return &DefaultTierWeights
	}
	return r.offloadWeights
}

// assumedOffload returns the number of the prompt's tokens that are assumed to be on disk
// beside u where nothing reports it: all that u was ever sent, in whole chunks.
func (r *Request) assumedOffload(c Candidate, u *upstream) int {
	if c.Offload != nil && !c.Offload.Whole {
		return 0
	}
	sent := r.tokensOn(u, max(u.sentBlocks, u.heldBlocks))
	chunk := cmp.Or(c.OffloadChunk, usualChunk)
	return sent / chunk * chunk
}

// tokensOn returns the tokens of the prompt's first blocks of text: the tokens
// themselves where u's events have shown them, else as estimated.
func (r *Request) tokensOn(u *upstream, blocks int32) int {
	if u.followed != nil {
		if tm := r.tokenMatchOn(u); tm != nil && int(blocks) <= tm.textBlocks {
			return tm.tokens * int(blocks) / max(tm.textBlocks, 1)
		}
	}
	return r.tokensIn(blocks)
}

// addOffload adds the part of the prompt that u's engine can load from outside its GPU.
// It is worth less than blocks on the GPU: loading takes time.
func (r *Request) addOffload(m *prefixMatch, c Candidate, u *upstream) {
	weights := r.tierWeights(u)
	if weights == nil {
		return
	}
	var known Offload
	if c.Offload != nil {
		known = *c.Offload
	}
	limit := max(r.promptTokens-1, m.tokens)
	inMemory := min(max(known.CPU, m.tokens), limit)
	m.stored = min(max(known.Storage, inMemory), limit)
	m.assumed = max(0, min(r.assumedOffload(c, u), limit)-m.stored)
	share := u.offloadShare.value()

	disk := float64(m.stored-inMemory) + share*float64(m.assumed)
	worth := float64(inMemory-m.tokens)*weights[kvevents.CPU] + disk*weights[kvevents.Disk]
	m.weighted = min(m.weighted+int(worth), limit)
	m.offloaded = m.stored - m.tokens
	if share >= offloadBelieved {
		m.offloaded += m.assumed
	}
	m.tokens += m.offloaded
}

// external returns the number of the matched tokens that are predicted to be outside
// u's GPU.
func (r *Request) external(u *upstream, m prefixMatch) int {
	onGPU, _ := r.splitByTier(u, m)
	return m.tokens - onGPU
}

// CacheLost notes that the engine at an address has lost its KV cache, as after
// a restart. Blocks it was sent may still be outside its GPU, if it keeps blocks
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

// cacheLost notes that u has lost its KV cache. The caller holds mu.
func (rt *Router) cacheLost(u *upstream) {
	if u.offloads {
		rt.forgetGPU(u)
	} else {
		rt.forget(u)
	}
}

func anyOffload(candidates []Candidate) bool {
	for i := range candidates {
		if o := candidates[i].Offload; o != nil && o.Storage > 0 {
			return true
		}
	}
	return false
}
