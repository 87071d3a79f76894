// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"time"

	"github.com/bauxite/caddy-kvaware/kvaware/engine/kvevents"
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
func (r *Request) offloaded(t Target, u *upstream, onGPU int) int {
	o := Offload{Storage: max(r.tokens(u.known), r.tokens(u.matched))}
	if t.Offload != nil {
		o = *t.Offload
	}
	memory := max(0, o.CPU-onGPU)
	disk := max(0, o.Storage-max(o.CPU, onGPU))
	return int(float64(memory)*r.offloads[kvevents.CPU] + float64(disk)*r.offloads[kvevents.Disk])
}

func anyOffload(targets []Target) bool {
	for i := range targets {
		if o := targets[i].Offload; o != nil && o.Storage > 0 {
			return true
		}
	}
	return false
}

// Outlook is what was known of a prompt where it went, when it was routed; all
// in tokens from its beginning.
type Outlook struct {
	Held int // predicted to be in the upstream's KV cache
	Sent int // the upstream holds it, or was sent it at some time
	Most int // the same, of the upstream that has most: also of one that cannot be picked
	// Offload is what the target said.
	Offload Offload
	// Wait is how long it is predicted to wait until its prefill can begin, and
	// PerToken what a token of it costs.
	Wait, PerToken time.Duration
}

// Outlook returns the latest attempt's.
func (r *Request) Outlook() Outlook {
	r.fleet.mu.Lock()
	defer r.fleet.mu.Unlock()
	return r.outlook
}

// look notes the outlook on surveyed target i. The caller holds mu.
func (r *Request) look(i int, offload *Offload) {
	s := &r.fleet.scratch
	u, c, held := s.upstreams[i], &s.candidates[i], s.held[i].tokens
	sent := max(held, r.tokens(u.known), r.tokens(u.matched))
	r.outlook = Outlook{Held: held, Sent: sent, Most: max(sent, r.most), Wait: c.Wait, PerToken: c.PerToken}
	if offload != nil {
		r.outlook.Offload = *offload
	}
}

// longest returns how much of the prompt the upstream has, or was sent, that
// has most of it.
func (r *Request) longest(matches []radixcache.Match) (tokens int) {
	for _, m := range matches {
		tokens = max(tokens, r.tokens(m.Blocks))
	}
	return tokens
}
