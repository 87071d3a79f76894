// SPDX-License-Identifier: Apache-2.0

package radixcache

import (
	"sync/atomic"
)

// lookupTries bounds the tries of a lookup before it takes the lock.
const lookupTries = 32

// probeWidth is the number of places of a chain that are looked up side by side. Their
// cache misses overlap, so they cost some eight times less than one by one.
const probeWidth = 8

// Match says how many blocks of a chain, counted from its start, an upstream
// holds without a hole.
type Match struct {
	Upstream Upstream
	Blocks   int32
}

// Lookup appends to dst one Match for each upstream that holds at least one
// block of the chain from its start, in no particular order. It allocates
// nothing beyond dst, takes no lock, and changes nothing.
//
// Each match was true at a moment during the call. Matches of different
// upstreams may be of different moments when the tree is being changed.
func (t *Tree) Lookup(chain []uint64, dst []Match) []Match {
	if len(chain) == 0 {
		return dst
	}
	l := lookup{t: t, chain: chain, dst: dst}
	for range lookupTries {
		l.dir, l.index = t.dir.Load(), *t.index.chunks.Load()
		if l.collectAll() {
			return l.dst
		}
		l.dst, l.numSeen = l.dst[:len(dst)], 0
		clear(l.seen[:])
	}
	t.lock()
	defer t.unlock()
	l.dir, l.index = t.dir.Load(), *t.index.chunks.Load()
	l.collectAll()
	return l.dst
}

// lookup is one Lookup under way. Its methods return false when what they read
// has changed meanwhile.
//
// The upstreams that hold a run also hold the run before it. So the answer is
// collected from the deepest run upwards, each upstream where it is seen first. A
// run that has no more effective holders than were seen is passed over.
type lookup struct {
	t       *Tree
	dir     *directory
	index   []atomic.Uint32 // chunks of the index
	chain   []uint64
	dst     []Match
	numSeen int
	sum     uint64 // see prefetch

	// The runs that the last probe found, at places side by side from first on.
	first, numFound int
	runs            [probeWidth]uint32
	seen            [MaxUpstreams / 64]uint64 // upstreams by slot
}

// collectAll does the whole lookup.
func (l *lookup) collectAll() bool {
	deepest, ok := l.deepest()
	if !ok || deepest < 0 {
		return ok
	}
	if !l.descend(deepest*MaxRun, len(l.chain), false) {
		return false
	}
	top, ok := l.countHolders(0)
	if !ok {
		return false
	}
	for c := deepest - 1; c >= 0 && l.numSeen < top; c-- {
		if c, ok = l.skipSeen(c); !ok {
			return false
		}
		known, ok := l.climb(c * MaxRun)
		if !ok || !known && !l.descend(c*MaxRun, (c+1)*MaxRun, true) {
			return false
		}
	}
	return true
}

// climb collects the same as descend, for runs that the chain is known to contain
// whole. It goes from the last one up: each is one step from the next, where on the
// way down there are two. known is false when a parent is not where it should be.
func (l *lookup) climb(pos int) (known, ok bool) {
	end := pos + MaxRun
	l.prefetch(pos)
	r, ok := l.run(l.chain[end], end)
	if !ok || r == nil {
		return false, ok
	}
	for end > pos {
		if r = l.runAt(r.parent()); r == nil {
			return false, true
		}
		at := r.depth()
		if at < pos || at >= end {
			return false, true
		}
		h := l.chain[at]
		s := l.t.version(h)
		v := s.Load()
		counts := r.loadCounts()
		if v&1 != 0 || r.head.Load() != h || at+counts.blocks() != end {
			return false, true
		}
		if counts.effective() > l.numSeen && !l.collect(r, counts, at, end-at) {
			return false, false
		}
		if !unchanged(r, h, s, v) {
			return false, false
		}
		end = at
	}
	return true, true
}

// skipSeen returns the deepest place, c or before, whose run has more holders than
// were seen. The first place has.
func (l *lookup) skipSeen(c int) (int, bool) {
	lo, hi := 0, c+1 // lo has more, hi has not
	for m := c; hi-lo > 1; m = (lo + hi) / 2 {
		n, ok := l.countHolders(m * MaxRun)
		if !ok {
			return 0, false
		}
		if n > l.numSeen {
			lo = m
		} else {
			hi = m
		}
	}
	return lo, true
}

// prefetch reads one block of each line of the chain that the run at pos can have,
// so that these are fetched from memory while the run itself is. It is not known
// yet which of them will be compared.
func (l *lookup) prefetch(pos int) {
	part := l.chain[pos:min(pos+MaxRun, len(l.chain))]
	var sum uint64
	for i := 0; i < len(part); i += lineWords {
		sum += part[i]
	}
	l.sum = sum
}

// countHolders returns how many effective holders the run that starts at pos has.
func (l *lookup) countHolders(pos int) (n int, ok bool) {
	h := l.chain[pos]
	s := l.t.version(h)
	v := s.Load()
	r, ok := l.run(h, pos)
	if !ok || v&1 != 0 {
		return 0, false
	}
	if r == nil {
		return 0, s.Load() == v
	}
	n = r.numEffective()
	return n, unchanged(r, h, s, v)
}

// deepest returns the last of the places where a run must start, multiples of
// MaxRun, at which the tree has the chain's; -1 when it has nothing of it.
func (l *lookup) deepest() (int, bool) {
	lo, hi := -1, (len(l.chain)+MaxRun-1)/MaxRun
	for hi-lo > 1 {
		step := max(1, (hi-lo-1+probeWidth-1)/probeWidth)
		n, ok := l.probe(lo+step, step, hi)
		if !ok {
			return 0, false
		}
		hi = min(hi, lo+(n+1)*step)
		lo += n * step
	}
	return lo, true
}

// probe looks for the chain at the places from, from+step, ... before end, at
// most probeWidth of them, and returns how many in a row are there.
func (l *lookup) probe(from, step, end int) (n int, ok bool) {
	state := l.t.index.loadState()
	if state.buckets() == 0 {
		return 0, true
	}
	var buckets [probeWidth]*bucket
	var versions [probeWidth]uint32
	many := 0
	for c := from; c < end && many < probeWidth; c += step {
		b := bucketOf(l.chain[c*MaxRun], state.buckets())
		if int(b/bucketsPerChunk) >= len(l.index) {
			return 0, false
		}
		p := l.bucketAt(l.index[b/bucketsPerChunk].Load() + b%bucketsPerChunk)
		if p == nil {
			return 0, false
		}
		buckets[many] = p
		versions[many] = l.t.version(l.chain[c*MaxRun]).Load()
		many++
	}
	for i := range many { // all misses at once
		buckets[i].slots[0].Load()
	}
	l.first, l.numFound = from, 0
	for ; n < many; n++ {
		pos := (from + n*step) * MaxRun
		ref, ok := l.search(buckets[n], l.chain[pos], pos)
		if !ok {
			return 0, false
		}
		if ref == 0 {
			if v := versions[n]; v&1 != 0 || l.t.version(l.chain[pos]).Load() != v {
				return 0, false // it is being cut or joined
			}
			break
		}
		if step == 1 {
			l.runs[n] = ref
			l.numFound = n + 1
		}
	}
	return n, l.t.index.loadState() == state && !state.moving()
}

// descend collects the holders of the run at pos, whose first block the chain has,
// after those of the runs behind it that start before end. contained says that the
// chain is known to contain all of them up to end.
func (l *lookup) descend(pos, end int, contained bool) bool {
	h := l.chain[pos]
	s := l.t.version(h)
	v := s.Load()
	if !contained {
		l.prefetch(pos)
	}
	r, ok := l.run(h, pos)
	if !ok || v&1 != 0 {
		return false
	}
	if r == nil {
		return s.Load() == v
	}
	counts := r.loadCounts()
	n := counts.blocks()
	if n < 1 || n > MaxRun {
		return false // not a run any more
	}
	m := n
	if !contained {
		if m, ok = l.matchLength(r, n, pos); !ok {
			return false
		}
	}
	if at := pos + n; m == n && at < end && at%MaxRun != 0 && r.numChildren() > 0 {
		if !l.descend(at, end, contained) {
			return false
		}
	}
	if counts.effective() > l.numSeen && !l.collect(r, counts, pos, m) {
		return false
	}
	return unchanged(r, h, s, v)
}

// matchLength returns how many of the n blocks of a run match the chain at pos.
func (l *lookup) matchLength(r *run, n, pos int) (int, bool) {
	rest := l.chain[pos:]
	if n <= len(rest) && r.last.Load() == rest[n-1] {
		return n, true
	}
	lo, hi := 1, min(n-1, len(rest))
	if hi <= lo {
		return lo, true
	}
	seg, at := l.dir.seg(r.hashList())
	if seg == nil || int(at)+hi > segWords {
		return 0, false
	}
	b := seg[at : int(at)+hi]
	// One block of each line first, all misses at once; then inside one line.
	for i := lineWords - 1; i < hi; i += lineWords {
		if b[i].Load() == rest[i] {
			lo = i + 1
		}
	}
	for hi = min(hi, lo+lineWords); lo < hi && b[lo].Load() == rest[lo]; lo++ {
	}
	return lo, true
}

// collect adds the holders of a run of which m blocks are in the chain.
func (l *lookup) collect(r *run, counts runCounts, pos, m int) bool {
	n, class := counts.holders(), counts.class()
	if class == classInline {
		if n > maxInlineHolders {
			return false
		}
		l.add(r.inline[:n], pos, m)
		return true
	}
	ref := r.holderList()
	if class != classTable {
		return l.addList(ref, n, pos, m)
	}
	seg, at := l.dir.seg(ref)
	if seg == nil || int(at)+listSize > segWords || n > maxHolders {
		return false
	}
	for i := 0; i < n; i += listSize {
		if !l.addList(lower(seg[int(at)+i/listSize].Load()), min(listSize, n-i), pos, m) {
			return false
		}
	}
	return true
}

func (l *lookup) addList(ref uint32, n, pos, m int) bool {
	seg, at := l.dir.seg(ref)
	if seg == nil || int(at)+n > segWords {
		return false
	}
	l.add(seg[at:int(at)+n], pos, m)
	return true
}

// add adds the holders that were not seen before.
func (l *lookup) add(list []atomic.Uint64, pos, m int) {
	for i := range list {
		h := holder(list[i].Load())
		n := h.effective()
		if n == 0 {
			continue
		}
		slot := uint(h.slot()) % MaxUpstreams
		if bit := uint64(1) << (slot % 64); l.seen[slot/64]&bit == 0 {
			l.seen[slot/64] |= bit
			l.numSeen++
			if id := l.t.ids[slot].Load(); id != 0 {
				l.dst = append(l.dst, Match{Upstream(id), int32(pos + min(n, m))})
			}
		}
	}
}

// lineAt returns a line, or nil when its number means nothing any more.
func (l *lookup) lineAt(ref uint32) *line {
	seg, i := l.dir.seg(ref)
	if seg == nil {
		return nil
	}
	return (*line)(seg[i : i+lineWords])
}

func (l *lookup) runAt(ref uint32) *run       { return asRun(l.lineAt(ref)) }
func (l *lookup) bucketAt(ref uint32) *bucket { return asBucket(l.lineAt(ref)) }

// run returns the run that starts with h at pos, nil when there is none. What is
// read of it is true only if it is unchanged afterwards.
func (l *lookup) run(h uint64, pos int) (r *run, ok bool) {
	if c := pos/MaxRun - l.first; pos%MaxRun == 0 && c >= 0 && c < l.numFound {
		if r = l.runAt(l.runs[c]); r != nil && r.head.Load() == h && r.depth() == pos {
			return r, true
		}
	}
	ref, ok := l.findRun(h, pos)
	if !ok || ref == 0 {
		return nil, ok
	}
	r = l.runAt(ref)
	return r, r != nil
}

// unchanged tells whether a run with head h is where it was and as it was when its
// version s said v. The first word of a freed line is another one.
func unchanged(r *run, h uint64, s *atomic.Uint32, v uint32) bool {
	return s.Load() == v && r.head.Load() == h
}

// findRun is Tree.findRun without the lock.
func (l *lookup) findRun(h uint64, pos int) (uint32, bool) {
	state := l.t.index.loadState()
	if state.buckets() == 0 {
		return 0, true
	}
	b := bucketOf(h, state.buckets())
	if int(b/bucketsPerChunk) >= len(l.index) {
		return 0, false
	}
	p := l.bucketAt(l.index[b/bucketsPerChunk].Load() + b%bucketsPerChunk)
	if p == nil {
		return 0, false
	}
	ref, ok := l.search(p, h, pos)
	return ref, ok && l.t.index.loadState() == state && !state.moving()
}

// search looks for a run through a bucket and its overflow buckets.
func (l *lookup) search(b *bucket, h uint64, pos int) (uint32, bool) {
	for range 1 << 10 { // a chain that never ends is one that changes
		for i := range b.slots {
			if s := b.slots[i].Load(); runSlotMatches(s, h) {
				r := l.runAt(slotRun(s))
				if r == nil {
					return 0, false
				}
				if r.head.Load() == h && r.depth() == pos {
					return slotRun(s), true
				}
			}
		}
		next := b.next()
		if next == 0 {
			return 0, true
		}
		if b = l.bucketAt(next); b == nil {
			return 0, false
		}
	}
	return 0, false
}
