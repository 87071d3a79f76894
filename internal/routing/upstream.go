// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"time"

	"github.com/bauxite/caddy-kvaware/radixcache"
)

// upstream is one engine, known by its address: Caddy's *Upstream values are
// made anew by reloads and by dynamic sources.
type upstream struct {
	address       string
	removed       bool
	id            radixcache.Upstream // in the tree: what it holds
	sentID        radixcache.Upstream // in the tree: what it was sent, see recordSent
	queue         prefillQueue
	reported      reportedLoad
	backlog       backlog
	cost          cost
	demand        demand
	rentPaid      time.Duration // prefill computed there while it had too much, see spread
	footprint     int64         // uncached tokens sent there, decaying
	capacity      capacity
	cacheUsage    cacheUsage
	reuse         reuseSampler
	followed      *followedUpstream // nil: its events are not followed
	pending       []*Request        // recorded, but not yet answered
	external      bool              // its engine reports that, see SetExternalCache
	offloads      bool              // it keeps blocks outside its GPU too, see Prompt
	offloadShare  offloadShare
	lastAvailable time.Time // when it was last a candidate

	// What the tree says about the prompt under evaluation.
	evaluation uint64
	identity   *Identity // of the prompt on it; nil: the prompt's own
	heldBlocks int32     // blocks of the prompt that it holds
	sentBlocks int32     // blocks of the prompt that it was ever sent
}

// upstream returns the state kept for an address, new if need be. The caller
// holds mu.
func (rt *Router) upstream(address string) *upstream {
	u := rt.upstreams[address]
	if u == nil {
		// A newcomer starts level with the emptiest one, or it would be sent
		// every cold prompt until it has caught up with the others' past.
		u = &upstream{address: address, id: rt.tree.Register(address), footprint: rt.smallestFootprint(), lastAvailable: rt.now()}
		rt.upstreams[address] = u
		rt.byID.set(u.id, u)
	}
	return u
}

func (rt *Router) smallestFootprint() int64 {
	smallest := int64(-1)
	for _, u := range rt.upstreams {
		if smallest < 0 || u.footprint < smallest {
			smallest = u.footprint
		}
	}
	return max(smallest, 0)
}

// averages are learned over all upstreams, and the same for all candidates of one
// decision.
type averages struct {
	perToken  time.Duration // cost of a token
	decoding  decodeLoad    // beside a prefill
	slowdown  decodeLoad    // of prefill by decoding, see decodeSlowdown
	lateShare float64       // what a late prefill still counts for, see cost
}

func (rt *Router) averages() averages {
	return averages{
		perToken:  rt.commonCost.value(),
		decoding:  rt.typicalCost.meanDecoding(),
		slowdown:  rt.decodeSlowdown.coefficients(),
		lateShare: rt.typicalCost.lateShare(),
	}
}

// perToken returns the cost of a prompt token on u at this moment. The caller
// holds the router's mu.
func (u *upstream) perToken(k *averages) time.Duration {
	own := u.cost.shrunkPerToken(k.perToken)
	if k.slowdown == (decodeLoad{}) {
		return own
	}
	more := decodeLoadOf(u.queue.requests - u.queue.queued).minus(k.decoding)
	return time.Duration(float64(own) * slowdown(k.slowdown, more))
}

// learnCost learns from the time that a prefill on u took. The caller holds mu.
func (rt *Router) learnCost(u *upstream, s prefillSample) {
	typical := rt.commonCost.value()
	mean := float64(s.tokens) * float64(u.cost.perToken(typical))
	more := decodeLoadOf(s.decoding).minus(rt.typicalCost.meanDecoding())
	factor := rt.decodeSlowdown.factor(more)
	if u.cost.count > 1 {
		rt.decodeSlowdown.learn(s.tokens, float64(s.took)/mean, more)
	}
	// The slowness that decoding explains is not the upstream's own.
	s.took = time.Duration(float64(s.took) / factor)
	u.cost.learn(s, typical)
	rt.typicalCost.learn(s, startCost)
	rt.updateCommonCost()
}

// SetCapacity sets the size of an upstream's KV cache in tokens, as configured or as
// it reports; 0: not known. Its answers correct the figure.
func (rt *Router) SetCapacity(address string, tokens int64) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	rt.upstream(address).capacity.setInitial(tokens)
}

// UpstreamStats describes one upstream at one moment.
type UpstreamStats struct {
	Address   string
	Requests  int           // in flight
	Wait      time.Duration // predicted, until the prefill queued there is done
	PerToken  time.Duration // learned cost of an uncached prompt token
	Footprint int64         // uncached tokens sent there lately, decaying
	Capacity  int64         // of its KV cache in tokens, as estimated; 0: not known
	Idle      time.Duration // since it was last a candidate
}

// Upstreams describes all upstreams, in no order.
func (rt *Router) Upstreams() []UpstreamStats {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	now, k := rt.now(), rt.averages()
	all := make([]UpstreamStats, 0, len(rt.upstreams))
	for _, u := range rt.upstreams {
		all = append(all, UpstreamStats{
			Address:   u.address,
			Requests:  u.queue.requests,
			Wait:      u.queue.wait(now, k.lateShare),
			PerToken:  u.perToken(&k),
			Footprint: u.footprint,
			Capacity:  u.capacity.estimate,
			Idle:      now.Sub(u.lastAvailable),
		})
	}
	return all
}
