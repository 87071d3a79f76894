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
// Lock contract: mu is held by everything that changes the tree, one at a time
// and for a bounded number of steps; long operations let others in between.
// Lookups take no lock. They read under version numbers (see lookup.go) and try
// again when what they read has changed meanwhile.
type Tree struct {
	arena
	index hashTable // of runs
	byKey hashTable // of blocks by what engines call them, see events.go

	versions         [numStripes]atomic.Uint32
	ids              [MaxUpstreams]atomic.Uint32 // Upstream by slot, 0 while there is none
	evicted          slotSet                     // see Evicted; written under mu
	mu               sync.Mutex
	limitMu          sync.Mutex // one SetLimit at a time, taken before mu
	mostWork         int        // most work ever done before mu was released, see work.go
	workBudget       int        // of it after which a long operation lets others in
	onYield          func()     // called while others are let in, for tests
	pendingUpstreams int        // upstreams with work left over, see mend.go
	deferredMerges   []runKey
	vacating         int       // segment being given back
	evicting         *upstream // the one whose eviction is not complete
	ups              []*upstream
	generations      []uint32
	names            map[string]*upstream
	heap             []uint16 // slots of upstreams with claims, see evict.go
	holderIndex      [MaxUpstreams]uint16
	scratch          [2 * MaxRun]uint64   // of Stored
	clock            func() time.Duration // since New
	stamp            uint64               // of the operation under way: nanoseconds since New, and unique
	latest           uint64               // stamp given out
	floor            uint64               // first stamp of the operation: it evicts only what is older
	limit            int64
	charged          int64 // bytes outside of the segments and the directory
	promised         int64 // bytes that room is being made for, to be charged then
	runs             int
	blocks           int
	claims           int
	evictions        uint64
}

// MaxLimit is the highest ceiling; higher ones are taken for it.
const MaxLimit = 64 << 30

// Match says how many blocks of a chain, counted from its start, an upstream
// holds without a hole.
type Match struct {
	Upstream Upstream
	Blocks   int32
}

// Stats describes a tree at one moment.
type Stats struct {
	// Bytes is what the tree has allocated, Limit its ceiling.
	Bytes, Limit int64
	// Blocks counts distinct blocks, Runs the pieces without a branch they lie in.
	Blocks, Runs int
	// Claims counts pairs of a run and an upstream, Pairs pairs of a block and one.
	Claims, Pairs int
	// Upstreams counts the registered ones.
	Upstreams int
	// Evictions counts claims dropped at the ceiling.
	Evictions uint64
	// Oldest is how long ago the oldest claim was made or confirmed.
	Oldest time.Duration
}

// New returns an empty tree that never allocates more than limit bytes (a
// little over 64 KiB more are needed to hold anything: see Stats.Bytes).
func New(limit int64) *Tree {
	start := time.Now()
	t := &Tree{
		names:      make(map[string]*upstream),
		clock:      func() time.Duration { return time.Since(start) },
		workBudget: defaultWorkBudget,

		deferredMerges: make([]runKey, 0, maxDeferredMerges),
	}
	t.charged = int64(unsafe.Sizeof(*t)) + maxDeferredMerges*int64(unsafe.Sizeof(runKey{})) + 64
	t.dir.Store(newDirectory(nil, minSegs))
	t.index.init(&t.arena, func(slot uint64) uint64 { return t.run(uint32(slot)).head.Load() })
	t.byKey.init(&t.arena, t.keySlotHash)
	t.setLimit(limit)
	return t
}

// Limit returns the ceiling in bytes.
func (t *Tree) Limit() int64 {
	t.lock()
	defer t.unlock()
	return t.limit
}

// SetLimit changes the ceiling. When it is lower, the oldest claims go until the
// rest fits, the rest is moved together, and the memory is given back to Go
// before SetLimit returns. Other calls get in between its steps.
func (t *Tree) SetLimit(limit int64) {
	t.limitMu.Lock()
	defer t.limitMu.Unlock()
	t.lock()
	defer t.unlock()
	t.setLimit(limit)
	for t.evicting != nil || t.segments > t.maxSegs {
		t.startOperation()
		if !t.shrinkStep() {
			break
		}
		if t.overBudget() {
			t.yield()
		}
	}
	t.shrinkLists()
}

func (t *Tree) setLimit(limit int64) {
	t.limit = min(max(limit, 0), MaxLimit)
	t.setRoom()
}

// setRoom works out how many segments fit beside everything else.
func (t *Tree) setRoom() {
	t.maxSegs = max(0, int((t.limit-t.promised-t.fixedBytes())/segmentBytes))
}

// fixedBytes is what the tree has allocated beside its segments.
func (t *Tree) fixedBytes() int64 {
	return t.charged + t.dir.Load().bytes() + t.index.chunkBytes() + t.byKey.chunkBytes()
}

// charge accounts for n more bytes beside the segments, or returns false when
// the limit has no room for them. It lets others in while it makes room.
func (t *Tree) charge(n int64) bool {
	if n > 0 && t.fixedBytes()+t.promised+n > t.limit {
		return false
	}
	t.promised += n
	t.setRoom()
	for t.evicting != nil || t.segments > t.maxSegs {
		t.startOperation() // what others make meanwhile may have to go as well
		if !t.shrinkStep() {
			break
		}
		if t.overBudget() {
			t.yield()
		}
	}
	t.promised -= n
	t.charged += n
	t.setRoom()
	return true
}

// refund takes a charge back.
func (t *Tree) refund(n int64) {
	t.charged -= n
	t.setRoom()
}

// minSegs is the smallest directory.
const minSegs = 16

// growLists doubles the directory and the lists of chunks when they are three
// quarters full. They are small: 8 bytes for a segment, 4 for some 150 entries.
func (t *Tree) growLists() {
	if n := len(t.dir.Load().segs); t.segments*4 >= n*3 && t.roomFor(int64(n)*8) {
		t.dir.Store(newDirectory(t.dir.Load(), 2*n))
	}
	for _, x := range []*hashTable{&t.index, &t.byKey} {
		n := len(*x.chunks.Load())
		if int(x.buckets())*4 >= n*3*bucketsPerChunk && t.roomFor(int64(n)*4) {
			x.sizeChunks(2 * n)
		}
	}
	t.setRoom()
}

// roomFor tells whether n more bytes beside the segments stay under the limit.
func (t *Tree) roomFor(n int64) bool {
	return t.fixedBytes()+t.promised+n+int64(t.segments)*segmentBytes <= t.limit
}

// shrinkLists halves the lists while three quarters of them are unused.
func (t *Tree) shrinkLists() {
	d := t.dir.Load()
	n := len(d.segs)
	for n > minSegs && lastUsed(n, func(i int) bool { return d.segs[i].Load() != nil }) < n/4 {
		n /= 2
	}
	if n < len(d.segs) {
		t.dir.Store(newDirectory(d, n))
	}
	for _, x := range []*hashTable{&t.index, &t.byKey} {
		n := len(*x.chunks.Load())
		for n > minChunks && int(x.buckets())/bucketsPerChunk+1 < n/4 {
			n /= 2
		}
		if n < len(*x.chunks.Load()) {
			x.sizeChunks(n)
		}
	}
	t.setRoom()
}

func lastUsed(n int, used func(int) bool) int {
	for n--; n >= 0 && !used(n); n-- {
	}
	return n
}

// tick starts an operation: its stamp is the time, and later than all others'.
func (t *Tree) startOperation() uint64 {
	t.floor = t.newStamp()
	return t.floor
}

// restamp gives the operation under way a later stamp: others may have made
// claims meanwhile, and what it makes the youngest must be younger than theirs.
func (t *Tree) newStamp() uint64 {
	t.latest = max(t.latest+1, uint64(t.clock()))
	t.stamp = t.latest
	return t.stamp
}

// Stats returns the tree's figures of this moment.
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
