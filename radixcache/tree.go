// SPDX-License-Identifier: Apache-2.0

package radixcache

import (
	"runtime"
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
	index

	versions    [stripes]atomic.Uint32
	ids         [MaxUpstreams]atomic.Uint32 // Upstream by slot, 0 while there is none
	mu          sync.Mutex
	limitMu     sync.Mutex // one SetLimit at a time, taken before mu
	ups         []*upstream
	generations []uint32
	names       map[string]*upstream
	heap        []uint16 // slots of upstreams with claims, see evict.go
	where       [MaxUpstreams]uint16
	clock       func() time.Duration // since New
	stamp       uint64               // of the operation under way: nanoseconds since New, and unique
	latest      uint64               // stamp given out
	limit       int64
	charged     int64 // bytes outside of the segments and the directory
	runs        int
	blocks      int
	claims      int
	evictions   uint64
}

// stepClaims is how many claims a long operation drops before it lets others in.
const stepClaims = 128

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
		names: make(map[string]*upstream),
		clock: func() time.Duration { return time.Since(start) },
	}
	t.charged = int64(unsafe.Sizeof(*t)) + 64
	t.dir.Store(newDirectory(nil, 16, 16))
	t.setLimit(limit)
	return t
}

// Limit returns the ceiling in bytes.
func (t *Tree) Limit() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.limit
}

// SetLimit changes the ceiling. When it is lower, the oldest claims go until the
// rest fits, the rest is moved together, and the memory is given back to Go
// before SetLimit returns. Other calls get in between its steps.
func (t *Tree) SetLimit(limit int64) {
	t.limitMu.Lock()
	defer t.limitMu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.setLimit(limit)
	for t.segments > t.maxSegs {
		t.tick()
		if !t.fitStep(stepClaims) {
			break
		}
		t.yield()
	}
	t.shrinkDirectory()
}

func (t *Tree) setLimit(limit int64) {
	t.limit = min(max(limit, 0), MaxLimit)
	t.setRoom()
}

// setRoom works out how many segments fit beside everything else.
func (t *Tree) setRoom() {
	t.maxSegs = max(0, int((t.limit-t.fixedBytes())/segmentBytes))
}

// fixedBytes is what the tree has allocated beside its segments.
func (t *Tree) fixedBytes() int64 { return t.charged + t.dir.Load().bytes() }

// charge accounts for n more bytes beside the segments, or returns false when
// the limit has no room for them.
func (t *Tree) charge(n int64) bool {
	if n > 0 && t.fixedBytes()+n > t.limit {
		return false
	}
	t.charged += n
	t.setRoom()
	t.tick()
	t.fit()
	return true
}

// growDirectory doubles the directory. It is small: at most 1/8000 of the limit
// for the segments, 4 bytes for some 150 runs.
func (t *Tree) growDirectory() bool {
	d := t.dir.Load()
	segs, chunks := len(d.segs), len(d.chunks)
	if t.segments*4 >= segs*3 {
		segs *= 2
	}
	if d.chunks[chunks*3/4].Load() != 0 {
		chunks *= 2
	}
	bigger := int64(segs-len(d.segs))*8 + int64(chunks-len(d.chunks))*4
	if t.fixedBytes()+bigger+int64(t.segments)*segmentBytes > t.limit {
		return false
	}
	t.dir.Store(newDirectory(d, segs, chunks))
	t.setRoom()
	return true
}

// shrinkDirectory halves the directory while three quarters of it are unused.
func (t *Tree) shrinkDirectory() {
	d := t.dir.Load()
	segs, chunks := len(d.segs), len(d.chunks)
	for segs > 16 && lastUsed(segs, func(i int) bool { return d.segs[i].Load() != nil }) < segs/4 {
		segs /= 2
	}
	for chunks > 16 && lastUsed(chunks, func(i int) bool { return d.chunks[i].Load() != 0 }) < chunks/4 {
		chunks /= 2
	}
	if segs < len(d.segs) || chunks < len(d.chunks) {
		t.dir.Store(newDirectory(d, segs, chunks))
		t.setRoom()
	}
}

func lastUsed(n int, used func(int) bool) int {
	for n--; n >= 0 && !used(n); n-- {
	}
	return n
}

// tick starts an operation: its stamp is the time, and later than all others'.
func (t *Tree) tick() uint64 {
	t.latest = max(t.latest+1, uint64(t.clock()))
	t.stamp = t.latest
	return t.stamp
}

// yield lets others have the lock for a moment. What the caller knows of the
// tree may be wrong afterwards.
func (t *Tree) yield() {
	t.mu.Unlock()
	runtime.Gosched()
	t.mu.Lock()
}

// Stats returns the tree's figures of this moment.
func (t *Tree) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
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
		s.Oldest = max(0, t.clock()-time.Duration(u.key))
	}
	return s
}
