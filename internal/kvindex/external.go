// SPDX-License-Identifier: Apache-2.0

package kvindex

import (
	"sync/atomic"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
	"github.com/bauxite/caddy-kvaware/radixcache"
)

// externalCache is a cache beside an engine, as its publisher reports it, that has
// chunks of another size. LMCache is one, by default with 256 tokens. The chunks
// are entered for an upstream of their own: they make other chains than the
// engine's blocks, neither takes the other's names, and a removal in one place
// leaves the other alone.
type externalCache struct {
	upstream    atomic.Uint32 // in the tree; 0: none was reported
	sizes       blockSizeCounter
	chunkTokens atomic.Uint32 // the size that most chunks have
}

// External returns the upstream in the tree that stands for the cache beside the
// engine, and the size of its chunks in tokens; 0 when none is known.
func (f *Feed) External() (up radixcache.Upstream, chunkTokens int) {
	return radixcache.Upstream(f.external.upstream.Load()), int(f.external.chunkTokens.Load())
}

// isExternal reports whether an event is about chunks rather than the GPU's blocks.
func (f *Feed) isExternal(event *kvevents.Event) bool {
	return event.Tier != kvevents.GPU && f.sizes.onGPU && event.BlockSize != f.BlockTokens()
}

// open returns the cache's upstream, new if need be; 0 when the tree has no room.
func (e *externalCache) open(f *Feed) radixcache.Upstream {
	if e.upstream.Load() == 0 {
		e.upstream.Store(uint32(f.x.tree.Register(f.name + " outside")))
	}
	return radixcache.Upstream(e.upstream.Load())
}

// removed removes a copy of each chunk.
func (e *externalCache) removed(f *Feed, keys []uint64, tier kvevents.Tier) {
	if up := radixcache.Upstream(e.upstream.Load()); up != 0 && tier != kvevents.GPU {
		f.x.tree.Removed(up, keys, tier)
	}
}

// clear drops all chunks.
func (e *externalCache) clear(f *Feed) {
	if up := radixcache.Upstream(e.upstream.Swap(0)); up != 0 {
		f.x.tree.Unregister(up)
	}
	e.sizes = blockSizeCounter{}
	e.chunkTokens.Store(0)
}
