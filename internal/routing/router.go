// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"sync"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/kvindex"
	"github.com/bauxite/caddy-kvaware/radixcache"
)

const (
	// upstreamTTL is the time after which an upstream that is no candidate is
	// forgotten: as long as Caddy keeps the counters of dynamic ones.
	upstreamTTL = time.Hour

	// footprintDecay is the share of an upstream's footprint, and of what is known of
	// its cost, that a sweep takes off: at a sweep a minute half of it is gone after
	// eleven minutes. So an upstream that was once busy or slow, or is new, is not
	// judged by that for ever.
	footprintDecay = 16
)

// Router knows all engines of this process: the prefixes that each holds and its
// work in flight. It is safe for concurrent use, and stays usable for as long as
// anything refers to it.
//
// One lock guards all but the tree. It is held for lookups and updates in
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
	byFeed         idTable // by the ids of the followed upstreams' feeds
	followed       int     // upstreams whose events are followed
	typicalCost    cost    // over all upstreams
	evaluation     uint64  // number of the latest evaluation
	decodeSlowdown decodeSlowdown
	batchCost      batchCost
	commonCost     commonCost
	blockLifetime  blockLifetime
	truncated      truncatedPrompts
	tokenSizes     tokenSizes
	scratch        scratch
}

// New returns an empty router whose tree and index take at most limit bytes. It
// asks now for the time.
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

// Sweep forgets upstreams that have been no candidate for an hour, decays
// footprints and learned costs, and returns the addresses it forgot. Call it once a minute.
func (rt *Router) Sweep() (forgotten []string) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	now := rt.now()
	for address, u := range rt.upstreams {
		u.footprint -= u.footprint / footprintDecay
		u.cost.fade(1 - 1.0/footprintDecay)
		if u.queue.requests == 0 && now.Sub(u.lastAvailable) > upstreamTTL {
			rt.remove(u)
			forgotten = append(forgotten, address)
		}
	}
	return forgotten
}

// remove removes an upstream. The caller holds mu.
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

// Forget drops everything recorded about what an upstream holds or was sent. It
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

// IsCurrentEpoch reports whether signatures of an epoch still mean anything.
func (rt *Router) IsCurrentEpoch(epoch uint64) bool {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	return rt.epoch == epoch
}

// Clear drops what is recorded of every upstream and begins a new epoch:
// requests that were signed in an older one are no longer recorded. It returns
// the new epoch.
func (rt *Router) Clear() uint64 {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	for _, u := range rt.upstreams {
		rt.forget(u)
	}
	rt.epoch++
	return rt.epoch
}

// forget drops what is recorded of what u holds and was sent. The caller holds
// mu.
func (rt *Router) forget(u *upstream) {
	if u.sentID != 0 {
		rt.tree.Forget(u.sentID)
	}
	rt.forgetGPU(u)
}

// forgetGPU drops what is recorded of what u holds. The caller holds mu.
func (rt *Router) forgetGPU(u *upstream) {
	rt.tree.Forget(u.id)
	u.footprint, u.reuse, u.capacity.filled = 0, reuseSampler{}, 0
}
