// SPDX-License-Identifier: Apache-2.0

package kvindex

import (
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/bauxite/caddy-kvaware/internal/blockhash"
	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
	"github.com/bauxite/caddy-kvaware/radixcache"
)

// TTL is the lifetime of an entry in a tier, other than the GPU's, for which its
// publisher has never sent a removal. Several publishers send none. With a call of
// Expire each minute it ends less than a minute later.
const TTL = 10 * time.Minute

// expiringTiers is the number of tiers whose entries may expire: all but the GPU.
const expiringTiers = kvevents.NumTiers - 1

// Feed enters the events of one publisher in the tree, under an upstream of its
// own. It may be used from several goroutines, one event at a time.
type Feed struct {
	x        *Index
	name     string
	upstream radixcache.Upstream

	mu            sync.Mutex
	closed        bool
	group         int // the KV cache group that counts, noGroup before the first
	sizes         blockSizeCounter
	expiring      [expiringTiers]expiryQueue // by tier, for those without a removal so far
	sendsRemovals [expiringTiers]bool
	hashes        [eventBlocks]uint64
	external      externalCache
	stores        storeLog

	knowledge      atomic.Uint32
	incomplete     atomic.Bool // something was not entered for want of room
	tiered         atomic.Bool
	blockTokens    atomic.Uint32
	blocks         atomic.Uint64
	removed        atomic.Uint64
	unknownParents atomic.Uint64
	ignored        atomic.Uint64
	expired        atomic.Uint64
	contradicted   atomic.Uint64
}

const (
	noGroup = int(^uint(0) >> 1)
	// eventBlocks is the number of an event's blocks that are entered at a time.
	eventBlocks = 256
)

// FeedStats counts the events of a feed since it exists.
type FeedStats struct {
	Blocks         uint64 // copies of blocks entered
	Removed        uint64 // copies of blocks removed
	UnknownParents uint64 // events ignored because their parent is not known
	Ignored        uint64 // events about other than the prefix cache, or that do not add up
	Expired        uint64 // copies that ended after TTL, or earlier for want of room
	Contradicted   uint64 // blocks dropped because an answer contradicted them
	Expiring       int    // copies that are yet to expire
}

func newFeed(x *Index, name string) *Feed {
	return &Feed{x: x, name: name, upstream: x.tree.Register(name), group: noGroup}
}

// cost returns the bytes a feed takes, without its entries.
func (f *Feed) cost() int64 { return int64(unsafe.Sizeof(*f)) + int64(len(f.name)) + 64 }

// ID returns the feed's upstream in the tree; 0 when the tree had no room for it.
func (f *Feed) ID() radixcache.Upstream { return f.upstream }

// Name returns the name given to Index.Feed.
func (f *Feed) Name() string { return f.name }

// Apply enters one event. It returns false when the event could not be used, for an
// unknown parent or for want of room. Events about other than the prefix cache, and
// copies of unknown blocks, are ignored.
func (f *Feed) Apply(e *kvevents.Event) (indexed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed || e.Tier > kvevents.Disk:
		return false
	case e.Kind == kvevents.Stored:
		return f.stored(e)
	case e.Kind == kvevents.Removed:
		return f.remove(e)
	case e.Kind == kvevents.Cleared:
		f.clearEngine()
		return true
	}
	return false
}

// stored enters blocks, or copies of blocks when the event has no tokens.
func (f *Feed) stored(e *kvevents.Event) bool {
	if e.Attention != kvevents.Full || len(e.Hashes) == 0 ||
		len(e.Tokens) > 0 && (e.BlockSize < 1 || len(e.Tokens)%e.BlockSize != 0 || len(e.Tokens)/e.BlockSize != len(e.Hashes)) ||
		len(e.Extra) > 0 && len(e.Extra) != len(e.Hashes) {
		f.ignored.Add(1)
		return true
	}
	if len(e.Tokens) == 0 {
		return f.copied(e)
	}
	if !f.selectGroup(e.Group) {
		f.ignored.Add(1)
		return true
	}
	f.x.adapters.note(e.LoRA)
	up := f.upstream
	if f.isExternal(e) {
		if up = f.external.open(f); up == 0 {
			return false
		}
	}
	parent := f.x.root(string(e.LoRA))
	if !e.Root {
		known := false
		if parent, known = f.x.tree.BlockByKey(up, e.Parent); !known {
			f.unknownParents.Add(1)
			return false
		}
	}
	switch {
	case f.scheduleExpiry(e.Tier, e.Hashes) && f.enter(up, e, parent):
		return true
	case up != f.upstream:
		return false // absence means nothing in an external cache anyway
	}
	return f.markIncomplete()
}

// markIncomplete notes that absence means nothing from now on.
func (f *Feed) markIncomplete() bool {
	f.incomplete.Store(true)
	return false
}

// enter enters the blocks of an event for an upstream, after the block with the
// hash parent.
func (f *Feed) enter(up radixcache.Upstream, e *kvevents.Event, parent uint64) bool {
	n := e.BlockSize
	stored := radixcache.StoredBlocks{Root: e.Root, Parent: e.Parent, Weight: uint32(n), Tier: e.Tier, Repeated: f.mayRepeat(up, e)}
	first := uint64(0)
	for at := 0; at < len(e.Hashes); {
		end := min(at+eventBlocks, len(e.Hashes))
		for i := at; i < end; i++ {
			extra := uint64(0)
			if len(e.Extra) > 0 {
				extra = e.Extra[i]
			}
			parent = blockhash.Tokens(parent, extra, e.Tokens[i*n:(i+1)*n])
			f.hashes[i-at] = parent
		}
		if at == 0 {
			first = f.hashes[0]
		}
		stored.Keys, stored.Blocks = e.Hashes[at:end], f.hashes[:end-at]
		if !f.x.tree.Stored(up, stored) {
			return false
		}
		f.blocks.Add(uint64(end - at))
		stored.Root, stored.Parent = false, e.Hashes[end-1]
		at = end
	}
	if up != f.upstream {
		f.external.chunkTokens.Store(f.external.sizes.note(n, len(e.Hashes), false))
		return true
	}
	if e.Tier != kvevents.GPU {
		f.tiered.Store(true)
	} else {
		f.stores.add(first, len(e.Hashes))
	}
	f.blockTokens.Store(f.sizes.note(n, len(e.Hashes), e.Tier == kvevents.GPU))
	return true
}

// mayRepeat reports whether an event may name blocks that the engine only reuses.
// vLLM publishes those once more for a request with kv_cache_report_mode "full", each
// time that it tries to schedule it, but it removes a block once for each time that
// it computed it. Such an event starts with the first block of a prompt, which is
// there. Then every other request would have reused that block too, and its event
// would start behind it: what follows a parent was computed. Only requests that must
// not read the cache (prompt_logprobs) compute a first block that is there. Their
// events look the same, and their copies are not counted: the next event brings back
// a copy too few, but nothing would ever remove one too many. Where the feed is
// partial, the first block may be there although the feed lacks it.
func (f *Feed) mayRepeat(up radixcache.Upstream, e *kvevents.Event) bool {
	if !e.Root || e.Tier != kvevents.GPU {
		return false
	}
	if f.Partial() || f.Knowledge() == kvevents.Partial {
		return true
	}
	_, there := f.x.tree.BlockByKey(up, e.Hashes[0])
	return there
}

// copied enters copies of known blocks in another tier.
func (f *Feed) copied(e *kvevents.Event) bool {
	n := 0
	if e.Group == f.group {
		n = f.x.tree.Copied(f.upstream, e.Hashes, e.Tier)
		if up, _ := f.External(); up != 0 {
			n += f.x.tree.Copied(up, e.Hashes, e.Tier)
		}
	}
	if n == 0 {
		f.ignored.Add(1)
		return true
	}
	f.blocks.Add(uint64(n))
	if e.Tier != kvevents.GPU {
		f.tiered.Store(true)
	}
	if !f.scheduleExpiry(e.Tier, e.Hashes) {
		f.removeCopies(e.Hashes, e.Tier)
		return f.markIncomplete()
	}
	return true
}

// selectGroup reports whether a group of full attention is the one that counts: the
// one with the lowest index. When a lower one turns up, the entries of the other are
// dropped, and earlier blocks of this one are missing.
func (f *Feed) selectGroup(group int) bool {
	if group < f.group {
		if f.group != noGroup {
			f.clear()
			f.incomplete.Store(true)
		}
		f.group = group
	}
	return group == f.group
}

// remove removes a copy of each block.
func (f *Feed) remove(e *kvevents.Event) bool {
	if e.Group != f.group {
		f.ignored.Add(1)
		return true
	}
	if t := int(e.Tier) - 1; t >= 0 && !f.sendsRemovals[t] {
		f.sendsRemovals[t] = true
		f.expiring[t].clear(&f.x.chunks)
	}
	f.removeCopies(e.Hashes, e.Tier)
	f.removed.Add(uint64(len(e.Hashes)))
	return true
}

// removeCopies removes a copy of each block from a tier.
func (f *Feed) removeCopies(keys []uint64, tier kvevents.Tier) {
	f.x.tree.Removed(f.upstream, keys, tier)
	f.external.removed(f, keys, tier)
}

// Clear drops all entries, and what is known of the publisher's habits: another
// engine may be there now.
func (f *Feed) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.clear()
	}
}

func (f *Feed) clear() {
	f.external.clear(f)
	f.clearEngine()
}

// clearEngine drops the engine's own blocks, as it reports that it has cleared
// them. Chunks in an external cache stay: nothing would report them again.
func (f *Feed) clearEngine() {
	if f.external.upstream.Load() == 0 {
		for t := range f.expiring {
			f.expiring[t].clear(&f.x.chunks)
			f.sendsRemovals[t] = false
		}
	}
	f.group, f.sizes = noGroup, blockSizeCounter{}
	f.tiered.Store(false)
	f.x.tree.Forget(f.upstream)
	f.incomplete.Store(false)
}

// close takes the feed out of the tree.
func (f *Feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.knowledge.Store(uint32(kvevents.Unknown))
	for t := range f.expiring {
		f.expiring[t].clear(&f.x.chunks)
	}
	f.external.clear(f)
	f.x.tree.Unregister(f.upstream)
}

// SetKnowledge sets the reliability of the applied events.
func (f *Feed) SetKnowledge(k kvevents.Knowledge) { f.knowledge.Store(uint32(k)) }

// Knowledge returns the reliability of the tree for this upstream: the value
// last given to Known, but Partial instead of Complete while the feed is Partial.
func (f *Feed) Knowledge() kvevents.Knowledge {
	k := kvevents.Knowledge(f.knowledge.Load())
	if k == kvevents.Complete && f.Partial() {
		return kvevents.Partial
	}
	return k
}

// Partial reports whether the engine has blocks, applied since the last Clear, that
// are not in the tree: there was no room for them, or the tree evicted them. It
// takes no lock.
func (f *Feed) Partial() bool {
	return f.upstream == 0 || f.incomplete.Load() || f.x.tree.Evicted(f.upstream)
}

// BlockTokens returns the engine's block size, of several the one that most blocks
// on the GPU have; 0 before the first block.
func (f *Feed) BlockTokens() int { return int(f.blockTokens.Load()) }

// Tiered reports whether the engine has reported blocks in other tiers than the
// GPU's since the last Clear.
func (f *Feed) Tiered() bool { return f.tiered.Load() }

// Stats returns the feed's counts.
func (f *Feed) Stats() FeedStats {
	s := FeedStats{
		Blocks: f.blocks.Load(), Removed: f.removed.Load(), UnknownParents: f.unknownParents.Load(),
		Ignored: f.ignored.Load(), Expired: f.expired.Load(), Contradicted: f.contradicted.Load(),
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for t := range f.expiring {
		s.Expiring += f.expiring[t].keys
	}
	return s
}

// Interface guard
var _ kvevents.Sink = (*Feed)(nil)
