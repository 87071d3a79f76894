// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"time"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
)

// Prediction is the prediction for a request on the upstream it went to, from when
// it was routed. Counts are tokens from the prompt's beginning.
type Prediction struct {
	OnGPU    int // predicted to be on the upstream's GPU
	EverSent int // the upstream holds them or was sent them at some time

	// LongestCandidate is the most that was ever sent to a candidate. It is only
	// filled in where engines keep blocks outside their GPU.
	LongestCandidate int
	// Longest is the most that was ever sent to any upstream, candidate or not;
	// LongestBlocks is the same in blocks of the chain, and LongestAt the
	// address of that upstream.
	Longest       int
	LongestBlocks int
	LongestAt     string

	// Offload is from the candidate, or from the upstream's events.
	Offload Offload
	// Wait is the time until its prefill can begin, and PerToken what a token of
	// it costs.
	Wait, PerToken time.Duration
}

// Prediction returns the latest attempt's prediction.
func (r *Request) Prediction() Prediction {
	r.router.mu.Lock()
	defer r.router.mu.Unlock()
	return r.prediction
}

// predict stores the prediction for the evaluated candidate i. The caller holds
// mu.
func (r *Request) predict(i int, offload *Offload) {
	s := &r.router.scratch
	c, cached := &s.scored[i], s.prefixMatches[i].own()
	if r.noCache { // nothing is to be staged
		r.prediction = Prediction{Wait: c.Wait, PerToken: c.PerToken}
		return
	}
	sent := r.everSent(i)
	p := Prediction{
		OnGPU:            cached,
		EverSent:         sent,
		Longest:          max(sent, r.tokensIn(s.longestBlocks)),
		LongestCandidate: sent,
		LongestBlocks:    int(s.longestBlocks),
		Wait:             c.Wait,
		PerToken:         c.PerToken,
	}
	if s.longestOn != nil {
		p.LongestAt = s.longestOn.address
	}
	if offload != nil {
		p.Offload = *offload
	}
	if onGPU, inMemory := r.splitByTier(s.upstreams[i], s.prefixMatches[i]); onGPU < cached {
		p.OnGPU = onGPU
		p.Offload.CPU, p.Offload.Storage = max(p.Offload.CPU, inMemory), max(p.Offload.Storage, cached)
	}
	if r.offloadWeights != nil { // only staging asks for it
		for k := range s.upstreams {
			p.LongestCandidate = max(p.LongestCandidate, r.everSent(k))
		}
	}
	r.prediction = p
}

// everSent returns the number of the prompt's tokens that the evaluated candidate i
// holds or was sent at some time.
func (r *Request) everSent(i int) int {
	s := &r.router.scratch
	u := s.upstreams[i]
	return max(s.prefixMatches[i].own(), r.tokensIn(u.sentBlocks), r.tokensIn(u.heldBlocks))
}

// splitByTier returns the number of an upstream's own matched tokens on u's GPU, and of
// those there or in CPU memory, according to its events; all of them without such events.
func (r *Request) splitByTier(u *upstream, m prefixMatch) (onGPU, inMemory int) {
	fu, own := u.followed, m.own()
	if !m.byEvents || fu == nil || fu.evaluation != r.router.evaluation || fu.tokens == 0 || own != r.eventMatch(u).tokens {
		return own, own
	}
	share := func(tokens int) int { return int(int64(own) * int64(tokens) / int64(fu.tokens)) }
	return own - share(fu.outsideGPU[kvevents.CPU]+fu.outsideGPU[kvevents.Disk]), own - share(fu.outsideGPU[kvevents.Disk])
}
