// SPDX-License-Identifier: Apache-2.0

package kvindex

import (
	"sync/atomic"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
	"github.com/bauxite/caddy-kvaware/radixcache"
)

// outside is what a publisher says of blocks that something beside its engine
// keeps in chunks of another size, as LMCache does, by default of 256 tokens. They
// are entered as if another upstream had them: chunks and blocks make chains of
// their own, neither takes the other's names, and what goes from the one place
// stays in the other.
type externalCache struct {
	upstream    atomic.Uint32 // in the tree; 0: nothing was ever said of any
	sizes       blockSizeCounter
	chunkTokens atomic.Uint32 // in a chunk, of several sizes the one that most have
}

// Outside returns the upstream in the tree that stands for what is kept beside the
// engine, and how many tokens a chunk of it has; 0 when nothing is known of any.
func (f *Feed) External() (up radixcache.Upstream, chunkTokens int) {
	return radixcache.Upstream(f.external.upstream.Load()), int(f.external.chunkTokens.Load())
}

// foreign tells whether an event is about chunks that are not the GPU's blocks.
func (f *Feed) isExternal(e *kvevents.Event) bool {
	return e.Tier != kvevents.GPU && f.sizes.onGPU && e.BlockSize != f.BlockTokens()
}

// open returns the upstream of what is kept outside; 0 when the tree has no room.
func (o *externalCache) open(f *Feed) radixcache.Upstream {
	if o.upstream.Load() == 0 {
		o.upstream.Store(uint32(f.x.tree.Register(f.name + " outside")))
	}
	return radixcache.Upstream(o.upstream.Load())
}

// removed takes a copy of each block off that is kept outside.
func (o *externalCache) removed(f *Feed, keys []uint64, tier kvevents.Tier) {
	if up := radixcache.Upstream(o.upstream.Load()); up != 0 && tier != kvevents.GPU {
		f.x.tree.Removed(up, keys, radixcache.Tier(tier))
	}
}

// clear drops all that was entered.
func (o *externalCache) clear(f *Feed) {
	if up := radixcache.Upstream(o.upstream.Swap(0)); up != 0 {
		f.x.tree.Unregister(up)
	}
	o.sizes = blockSizeCounter{}
	o.chunkTokens.Store(0)
}
