// SPDX-License-Identifier: Apache-2.0

package kvindex

import (
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
	"github.com/bauxite/caddy-kvaware/radixcache"
)

// TTL is how long an entry counts in a tier, other than the GPU's, for which its
// publisher has never sent a removal: several do not, and what they keep ends
// without a word. A call of Expire each minute ends it less than a minute later.
const TTL = 10 * time.Minute

// slowTiers are those whose entries may end after a time.
const expiringTiers = 2

// Feed enters what one publisher says in the tree, under an upstream of its own.
// It may be used from several goroutines, one event at a time.
type Feed struct {
	x        *Index
	name     string
	upstream radixcache.Upstream

	mu            sync.Mutex
	closed        bool
	group         int // that is followed, noGroup before the first
	sizes         blockSizeCounter
	expiring      [expiringTiers]expiryQueue // of tiers for which there was no removal
	sendsRemovals [expiringTiers]bool
	hashes        [eventBlocks]uint64
	external      externalCache

	knowledge      atomic.Uint32
	incomplete     atomic.Bool // something was not entered for want of room
	tiered         atomic.Bool
	blockTokens    atomic.Uint32
	blocks         atomic.Uint64
	removed        atomic.Uint64
	unknownParents atomic.Uint64
	ignored        atomic.Uint64
	expired        atomic.Uint64
}

const (
	noGroup = int(^uint(0) >> 1)
	// eventBlocks is how many blocks of an event are entered at a time.
	eventBlocks = 256
)

// FeedStats counts what a feed was told, since it is there.
type FeedStats struct {
	Blocks         uint64 // copies of blocks entered
	Removed        uint64 // removals
	UnknownParents uint64 // events that were left out for one
	Ignored        uint64 // events about what is no prefix cache, or that do not add up
	Expired        uint64 // copies that ended after TTL, or before it at the ceiling
	Expiring       int    // copies that will
}

func newFeed(x *Index, name string) *Feed {
	return &Feed{x: x, name: name, upstream: x.tree.Register(name), group: noGroup}
}

// cost is what a feed takes beside what it enters.
func (f *Feed) cost() int64 { return int64(unsafe.Sizeof(*f)) + int64(len(f.name)) + 64 }

// ID is the feed's upstream in the tree; 0 when the tree had no room for it.
func (f *Feed) ID() radixcache.Upstream { return f.upstream }

// Name is what Index.Feed was called with.
func (f *Feed) Name() string { return f.name }

// Apply enters one event. It returns false when it could not be used, for an
// unknown parent or for want of room. What is no prefix cache, and copies of blocks
// that are not known, are passed over.
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
		return false // of what is kept elsewhere absence means nothing anyway
	}
	return f.markIncomplete()
}

// noRoom notes that absence means nothing from now on.
func (f *Feed) markIncomplete() bool {
	f.incomplete.Store(true)
	return false
}

// enter enters the blocks of an event as an upstream's, behind one with the own
// hash parent.
func (f *Feed) enter(up radixcache.Upstream, e *kvevents.Event, parent uint64) bool {
	n := e.BlockSize
	stored := radixcache.StoredBlocks{Root: e.Root, Parent: e.Parent, Weight: uint32(n), Tier: radixcache.Tier(e.Tier)}
	for at := 0; at < len(e.Hashes); {
		end := min(at+eventBlocks, len(e.Hashes))
		for i := at; i < end; i++ {
			extra := uint64(0)
			if len(e.Extra) > 0 {
				extra = e.Extra[i]
			}
			parent = blockHash(parent, extra, e.Tokens[i*n:(i+1)*n])
			f.hashes[i-at] = parent
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
	}
	f.blockTokens.Store(f.sizes.note(n, len(e.Hashes), e.Tier == kvevents.GPU))
	return true
}

// copied enters that another tier has a copy of blocks that are known.
func (f *Feed) copied(e *kvevents.Event) bool {
	n := 0
	if e.Group == f.group {
		n = f.x.tree.Copied(f.upstream, e.Hashes, radixcache.Tier(e.Tier))
		if up, _ := f.External(); up != 0 {
			n += f.x.tree.Copied(up, e.Hashes, radixcache.Tier(e.Tier))
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

// follow tells whether a group of full attention is the one that is followed: the
// one with the lowest index. When a lower one turns up, what the other said goes,
// and what there was before is unknown.
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

// remove takes a copy of each block off.
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

// takeOff takes a copy of each block off a tier.
func (f *Feed) removeCopies(keys []uint64, tier kvevents.Tier) {
	f.x.tree.Removed(f.upstream, keys, radixcache.Tier(tier))
	f.external.removed(f, keys, tier)
}

// Clear drops all that was entered. What is known of the publisher's ways goes
// too: another engine may be there now.
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

// emptied drops what the engine had itself, as it says that it has cleared it. What
// is kept beside it in chunks stays there, and nobody would tell of it again.
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

// end takes the feed out of the tree.
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

// Known notes how far what was applied can be relied on.
func (f *Feed) SetKnowledge(k kvevents.Knowledge) { f.knowledge.Store(uint32(k)) }

// Knowledge is how far the tree can be relied on for this upstream: what Known was
// last told, but Partial instead of Complete while the feed itself is Partial.
func (f *Feed) Knowledge() kvevents.Knowledge {
	k := kvevents.Knowledge(f.knowledge.Load())
	if k == kvevents.Complete && f.Partial() {
		return kvevents.Partial
	}
	return k
}

// Partial tells that something of what was applied since the last Clear is not in
// the tree although the engine has it: there was no room for it, or it went at the
// ceiling. It takes no lock.
func (f *Feed) Partial() bool {
	return f.upstream == 0 || f.incomplete.Load() || f.x.tree.Evicted(f.upstream)
}

// BlockTokens is the engine's block size: of several the one that most blocks on
// the GPU have; 0 before the first block.
func (f *Feed) BlockTokens() int { return int(f.blockTokens.Load()) }

// Tiered tells whether the engine has blocks in other tiers than the GPU's, as far
// as it has said so since the last Clear.
func (f *Feed) Tiered() bool { return f.tiered.Load() }

// Stats returns the figures of this moment.
func (f *Feed) Stats() FeedStats {
	s := FeedStats{
		Blocks: f.blocks.Load(), Removed: f.removed.Load(), UnknownParents: f.unknownParents.Load(),
		Ignored: f.ignored.Load(), Expired: f.expired.Load(),
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
