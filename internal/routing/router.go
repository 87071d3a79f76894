// SPDX-License-Identifier: Apache-2.0

// Package fleet is what the gateway knows of its engines, and how it picks the
// one for a request. It knows no HTTP and no clock: the time is handed in, so
// the same code routes real traffic and replays traces in virtual time.
//
// For each upstream that could take a request it predicts the time to first
// token:
//
//	wait for the prefill already queued there + this request's own prefill
//
// both being uncached prompt tokens times what a token costs there; the wait is
// longer where the KV cache has no room for the prompt before others end (see
// blocks). To it comes
// what the request's prefill costs those that come after it (see price). The
// unit is time, so there is nothing to weigh: a prefix that many requests share
// spills to a second upstream exactly when waiting for it costs more than
// computing it again.
//
// What is cached where comes from a radix tree of prompt-prefix hashes. The
// rest is learned: the cost of a token from first tokens, what running decodes
// add to it, and the size of each KV cache from what answers had cached, as
// reported or as their time tells.
package routing

import (
	"sync"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/kvindex"
	"github.com/bauxite/caddy-kvaware/radixcache"
)

const (
	// idleUpstream is how long an upstream that no request could have picked
	// is remembered: as long as Caddy keeps the counters of dynamic ones.
	upstreamTTL = time.Hour

	// footprintDecay is the share of an upstream's footprint that a sweep
	// takes off: at a sweep a minute half of it is gone after eleven minutes,
	// so that an upstream which was once busy, or is new, is not judged by
	// that for ever.
	footprintDecay = 16
)

// Fleet is what this process knows of all engines: which prefixes each holds
// and what each is busy with. It is safe for concurrent use, and stays usable
// for as long as anything refers to it.
//
// One lock covers all but the tree. It is held for lookups and updates in
// memory only, and around a whole decision, so that requests that arrive
// together see each other's picks.
type Router struct {
	tree  *radixcache.Tree
	index *kvindex.Index
	now   func() time.Time

	mu             sync.Mutex
	memory         memory
	epoch          uint64
	upstreams      map[string]*upstream
	byID           idTable
	byFeed         idTable // the feeds of those that are followed
	typicalCost    cost    // of a token, whatever the upstream
	evaluation     uint64  // surveys so far
	decodeSlowdown decodeSlowdown
	blockLifetime  blockLifetime
	truncated      truncatedPrompts
	tokenSizes     tokenSizes
	scratch        scratch
}

// upstream is one engine, known by its address: Caddy's *Upstream values are
// made anew by reloads and by dynamic sources.
type upstream struct {
	address       string
	removed       bool                // removed
	id            radixcache.Upstream // in the tree: what it holds
	sentID        radixcache.Upstream // in the tree: what it was sent, see track
	queue         prefillQueue
	reported      reportedLoad
	cost          cost
	demand        demand
	rentPaid      time.Duration // computed there while it had too much, see spread
	footprint     int64         // uncached tokens sent there, decaying
	capacity      capacity
	cacheUsage    cacheUsage
	reuse         reuseSampler
	followed      *followedUpstream // nil: its events are not
	pending       []*Request        // recorded, but not yet answered
	evaluation    uint64            // the survey that these two are of
	heldBlocks    int32             // blocks of the prompt that it holds
	sentBlocks    int32             // blocks of the prompt that it was ever sent
	offloads      bool              // it keeps blocks outside its GPU too, see Prompt
	lastAvailable time.Time         // when a request could last have picked it
}

// New returns an empty fleet whose tree takes at most limit bytes. The time
// comes from now.
func New(limit int64, now func() time.Time) *Router {
	rt := &Router{
		tree:      radixcache.New(limit),
		now:       now,
		upstreams: make(map[string]*upstream),
	}
	rt.memory.tree = rt.tree
	rt.index = kvindex.New(rt.tree, rt.memory.setIndexBytes)
	rt.SetLimit(limit)
	return rt
}

// upstream returns the state kept for an address, new if need be.
// The caller holds mu.
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

// Sweep forgets upstreams that have been gone for an hour, lets footprints
// decay, and returns the addresses it forgot. It is to be called once a minute.
func (rt *Router) Sweep() (gone []string) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	now := rt.now()
	for address, u := range rt.upstreams {
		u.footprint -= u.footprint / footprintDecay
		if u.queue.count() == 0 && now.Sub(u.lastAvailable) > upstreamTTL {
			rt.remove(u)
			gone = append(gone, address)
		}
	}
	return gone
}

// remove forgets an upstream. The caller holds mu.
func (rt *Router) remove(u *upstream) {
	rt.tree.Unregister(u.id)
	rt.byID.remove(u.id)
	rt.unfollow(u)
	if u.sentID != 0 {
		rt.tree.Unregister(u.sentID)
		rt.byID.remove(u.sentID)
	}
	u.removed = true
	delete(rt.upstreams, u.address)
}

// known is what has been learned of all upstreams together: what is the same
// for all that one decision looks at.
type averages struct {
	perToken  time.Duration // what a token costs
	decoding  decodeLoad    // decoded beside a prefill
	slowdown  decodeLoad    // by which that slows it down
	lateShare float64       // what a late prefill still counts for
}

func (rt *Router) averages() averages {
	return averages{
		perToken:  rt.typicalCost.perToken(startCost),
		decoding:  rt.typicalCost.meanDecoding(),
		slowdown:  rt.decodeSlowdown.coefficients(),
		lateShare: rt.typicalCost.lateShare(),
	}
}

// perToken returns what a prompt token costs on u at this moment. The caller
// holds the fleet's mu.
func (u *upstream) perToken(k *averages) time.Duration {
	own := u.cost.shrunkPerToken(k.perToken)
	if k.slowdown == (decodeLoad{}) {
		return own
	}
	more := decodeLoadOf(u.queue.requests - u.queue.queued).minus(k.decoding)
	return time.Duration(float64(own) * slowdown(k.slowdown, more))
}

// learn takes in what a prefill on u took. The caller holds mu.
func (rt *Router) learn(u *upstream, s prefillSample) {
	typical := rt.typicalCost.perToken(startCost)
	mean := float64(s.tokens) * float64(u.cost.perToken(typical))
	more := decodeLoadOf(s.decoding).minus(rt.typicalCost.meanDecoding())
	factor := rt.decodeSlowdown.factor(more)
	if u.cost.count > 1 {
		rt.decodeSlowdown.learn(s.tokens, float64(s.took)/mean, more)
	}
	// What the decodes beside it explain is not the upstream's own slowness.
	s.took = time.Duration(float64(s.took) / factor)
	u.cost.learn(s, typical)
	rt.typicalCost.learn(s, startCost)
}

// Forget drops everything recorded about what an upstream holds, or was sent. It
// reports whether the upstream is known.
func (rt *Router) Forget(address string) bool {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	u := rt.upstreams[address]
	if u == nil {
		return false
	}
	rt.forget(u)
	return true
}

// IsEpoch reports whether what was signed in an epoch still means anything.
func (rt *Router) IsCurrentEpoch(epoch uint64) bool {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	return rt.epoch == epoch
}

// Clear drops what is recorded of every upstream and begins a new epoch:
// requests that were signed in an older one are not recorded any more. It
// returns the new epoch.
func (rt *Router) Clear() uint64 {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	for _, u := range rt.upstreams {
		rt.forget(u)
	}
	rt.epoch++
	return rt.epoch
}

// empty drops what is recorded of what u holds, and was sent. The caller holds
// mu.
func (rt *Router) forget(u *upstream) {
	if u.sentID != 0 {
		rt.tree.Forget(u.sentID)
	}
	rt.forgetGPU(u)
}

// emptyGPU drops what is recorded of what u holds. The caller holds mu.
func (rt *Router) forgetGPU(u *upstream) {
	rt.tree.Forget(u.id)
	u.footprint, u.reuse, u.capacity.filled = 0, reuseSampler{}, 0
}

// SetCapacity notes how many tokens of KV cache an upstream has, as configured
// or as it reports; 0: not known. What answers show corrects it.
func (rt *Router) SetCapacity(address string, tokens int64) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	rt.upstream(address).capacity.setInitial(tokens)
}

// Upstream is what is known of one upstream at one moment.
type UpstreamStats struct {
	Address   string
	Requests  int           // in flight
	Wait      time.Duration // until the prefill queued there is done, as predicted
	PerToken  time.Duration // what an uncached prompt token costs there, as learned
	Footprint int64         // uncached tokens sent there lately, see candidate
	Capacity  int64         // of its KV cache in tokens, as estimated; 0: not known
	Idle      time.Duration // since a request could last have picked it
}

// Upstreams returns what is known of all upstreams, in no order.
func (rt *Router) Upstreams() []UpstreamStats {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	now, k := rt.now(), rt.averages()
	all := make([]UpstreamStats, 0, len(rt.upstreams))
	for _, u := range rt.upstreams {
		all = append(all, UpstreamStats{
			Address:   u.address,
			Requests:  u.queue.count(),
			Wait:      u.queue.wait(now, k.lateShare),
			PerToken:  u.perToken(&k),
			Footprint: u.footprint,
			Capacity:  u.capacity.estimate,
			Idle:      now.Sub(u.lastAvailable),
		})
	}
	return all
}
