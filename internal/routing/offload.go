// SPDX-License-Identifier: Apache-2.0

package routing

import "github.com/bauxite/caddy-kvaware/internal/engine/kvevents"

// Offload is the part of a prompt that is known to be kept outside the GPU of an
// upstream, in tokens from its beginning. Where the GPU holds less, the engine loads
// the rest, and reports it as cached.
type Offload struct {
	CPU     int // in CPU memory
	Storage int // there, or on disk or remote; at least CPU
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

// offloadOn returns the part of the prompt that is kept outside the GPU of u. Where
// nothing reports it (assumed), that is what u was ever sent, on disk, in whole chunks.
func (r *Request) offloadOn(c Candidate, u *upstream) (o Offload, assumed bool) {
	if c.Offload != nil {
		return *c.Offload, false
	}
	sent := r.tokensOn(u, max(u.sentBlocks, u.heldBlocks))
	if c.OffloadChunk > 0 {
		sent = sent / c.OffloadChunk * c.OffloadChunk
	}
	return Offload{Storage: sent}, true
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
	o, assumed := r.offloadOn(c, u)
	share := 1.0
	if assumed {
		share = u.offloadShare.value()
	}
	inMemory := max(0, o.CPU-m.tokens)
	onDisk := max(0, o.Storage-max(o.CPU, m.tokens))
	worth := share * (float64(inMemory)*r.offloadWeights[kvevents.CPU] + float64(onDisk)*r.offloadWeights[kvevents.Disk])
	m.weighted = max(m.weighted, int(min(float64(m.weighted)+worth, float64(r.promptTokens-1))))
	more := max(0, min(max(o.CPU, o.Storage), r.promptTokens-1)-m.tokens)
	if assumed {
		m.assumed = more
	}
	if share >= offloadBelieved {
		m.offloaded = more
		m.tokens += more
	}
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
