// SPDX-License-Identifier: Apache-2.0

package routing

import "github.com/bauxite/caddy-kvaware/internal/engine/kvevents"

// Offload is the part of a prompt that is known to be kept outside the GPU of an
// upstream, in tokens from its beginning. It counts where the GPU holds less,
// and is not predicted to be cached.
type Offload struct {
	CPU     int // in CPU memory
	Storage int // there, or on disk or remote; at least CPU
}

// offloadWorth returns the worth of the tiers beside u, in tokens on its GPU, where
// that has onGPU tokens of the prompt.
func (r *Request) offloadWorth(c Candidate, u *upstream, onGPU int) int {
	o := Offload{Storage: max(r.tokensIn(u.sentBlocks), r.tokensIn(u.heldBlocks))}
	if c.Offload != nil {
		o = *c.Offload
	}
	inMemory := max(0, o.CPU-onGPU)
	onDisk := max(0, o.Storage-max(o.CPU, onGPU))
	return int(float64(inMemory)*r.offloadWeights[kvevents.CPU] + float64(onDisk)*r.offloadWeights[kvevents.Disk])
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
