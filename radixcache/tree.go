// SPDX-License-Identifier: Apache-2.0

package radixcache

import (
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// Tree is safe for concurrent use by any number of goroutines. The zero value is
// not usable, see New.
//
// Lock contract: everything that changes the tree holds mu, for a bounded number
// of steps; long operations let others in between. Lookups take no lock. They read
// under version numbers (see lookup.go) and try again when what they read has
// changed meanwhile.
type Tree struct {
	arena
	index hashTable // of runs, by the hash of the first block
	byKey hashTable // of blocks, by the engine's key, see record.go

	versions [numStripes]atomic.Uint32   // see Tree.version
	ids      [MaxUpstreams]atomic.Uint32 // Upstream by slot, 0 while there is none
	evicted  slotSet                     // see Evicted; written under mu

	mu         sync.Mutex
	limitMu    sync.Mutex // one SetLimit at a time, taken before mu
	mostWork   int        // the most work between two yields so far, see lock.go
	workBudget int        // work after which a long operation lets others in
	onYield    func()     // called while others are let in, for tests

	pendingUpstreams int // upstreams with something pending, see propagate.go
	deferredMerges   []runKey
	vacating         int       // segment being given back
	evicting         *upstream // upstream whose eviction is not complete

	ups         []*upstream // by slot
	generations []uint32    // of the last id of each slot
	names       map[string]*upstream
	heap        []uint16             // slots of upstreams with claims, see age.go
	holderIndex [MaxUpstreams]uint16 // by slot, see indexHolders
	scratch     [2 * MaxRun]uint64   // for Stored

	clock  func() time.Duration // since New
	stamp  uint64               // of the operation under way: nanoseconds since New, and unique
	latest uint64               // the last stamp given out
	floor  uint64               // first stamp of the operation: it evicts only older claims

	limit    int64
	charged  int64 // bytes outside of the segments, the directory and the lists of chunks
	promised int64 // bytes that room is being made for, to be charged then

	runs      int
	blocks    int
	claims    int
	evictions uint64
}

// Stats describes a tree at one moment.
type Stats struct {
	// Bytes is the memory that the tree has allocated, Limit its ceiling.
	Bytes, Limit int64
	// Blocks counts distinct blocks, Runs the pieces without a branch they lie in.
	Blocks, Runs int
	// Claims counts pairs of a run and an upstream, Pairs those of a block and one.
	Claims, Pairs int
	// Upstreams counts the registered ones.
	Upstreams int
	// Evictions counts claims dropped at the ceiling.
	Evictions uint64
	// Oldest is the time since the oldest claim was made or confirmed.
	Oldest time.Duration
}

// New returns an empty tree that never allocates more than limit bytes (a
// little over 64 KiB more are needed to hold anything: see Stats.Bytes).
func New(limit int64) *Tree {
	start := time.Now()
	t := &Tree{
		names:          make(map[string]*upstream),
		clock:          func() time.Duration { return time.Since(start) },
		workBudget:     defaultWorkBudget,
		deferredMerges: make([]runKey, 0, maxDeferredMerges),
	}
	t.charged = int64(unsafe.Sizeof(*t)) + maxDeferredMerges*int64(unsafe.Sizeof(runKey{})) + 64
	t.dir.Store(newDirectory(nil, minSegs))
	t.index.init(&t.arena, func(slot uint64) uint64 { return t.run(slotRun(slot)).head.Load() })
	t.byKey.init(&t.arena, t.keySlotHash)
	t.setLimit(limit)
	return t
}

// Stats returns the figures of this moment.
func (t *Tree) Stats() Stats {
	t.lock()
	defer t.unlock()
	s := Stats{
		Bytes:     t.fixedBytes() + int64(t.segments)*segmentBytes,
		Limit:     t.limit,
		Blocks:    t.blocks,
		Runs:      t.runs,
		Claims:    t.claims,
		Upstreams: len(t.names),
		Evictions: t.evictions,
	}
	for _, u := range t.ups {
		if u != nil {
			s.Pairs += u.blocks
		}
	}
	if u := t.oldest(); u != nil {
		s.Oldest = max(0, t.clock()-time.Duration(u.heapKey))
	}
	return s
}
