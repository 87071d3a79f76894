// SPDX-License-Identifier: Apache-2.0

package radixcache

import (
	"sync/atomic"
)

// lookupTries is how often a lookup starts again before it takes the lock.
const lookupTries = 32

// fan is how many places of a chain are looked up side by side: their cache
// misses overlap, which makes them some eight times cheaper than one by one.
const probeWidth = 8

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
// The claims on a run are a part of those on the run before it. So the answer is
// collected from the deepest run upwards, each upstream where it is met first,
// and a run that has no more effective holders than were met is passed over.
type lookup struct {
	t       *Tree
	dir     *directory
	index   []atomic.Uint32 // chunks of the index
	chain   []uint64
	dst     []Match
	numSeen int    // upstreams met
	sum     uint64 // see warm

	// What probe found last, for places side by side from first on.
	first, numFound int
	runs            [probeWidth]uint32
	seen            [MaxUpstreams / 64]uint64
}

// all does the whole lookup.
func (l *lookup) collectAll() bool {
	deepest, ok := l.deepest()
	if !ok || deepest < 0 {
		return ok
	}
	if !l.visit(deepest*MaxRun, len(l.chain), false) {
		return false
	}
	top, ok := l.countHolders(0)
	if !ok {
		return false
	}
	for c := deepest - 1; c >= 0 && l.numSeen < top; c-- {
		if c, ok = l.next(c); !ok {
			return false
		}
		known, ok := l.climb(c * MaxRun)
		if !ok || !known && !l.visit(c*MaxRun, (c+1)*MaxRun, true) {
			return false
		}
	}
	return true
}

// climb is visit for runs of which the chain is known to have all, from the last
// one up: each is one step from the next, where on the way down there are two.
// known is false when a link does not lead where it should.
func (l *lookup) climb(pos int) (known, ok bool) {
	end := pos + MaxRun
	l.prefetch(pos)
	w, ok := l.run(l.chain[end], end)
	if !ok || w == nil {
		return false, ok
	}
	for end > pos && w != nil {
		if w = l.lineAt(uint32(w[4].Load())); w == nil {
			return false, true
		}
		at := int(w[2].Load() >> 32)
		if at < pos || at >= end {
			return false, true
		}
		h := l.chain[at]
		s := l.t.stripe(h)
		v := s.Load()
		shape := w[3].Load()
		if v&1 != 0 || w[0].Load() != h || at+int(uint8(shape)) != end {
			return false, true
		}
		if int(uint16(shape>>countEffective)) > l.numSeen && !l.collect(w, shape, at, end-at) {
			return false, false
		}
		if !l.unchanged(w, h, s, v) {
			return false, false
		}
		end = at
	}
	return true, true
}

// next returns the deepest place, c or before, whose run has more holders than
// were met. The first place has.
func (l *lookup) next(c int) (int, bool) {
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

// warm has the part of the chain at pos that one run can have fetched from
// memory while the run itself is: which of it will be asked for is not known.
func (l *lookup) prefetch(pos int) {
	part := l.chain[pos:min(pos+MaxRun, len(l.chain))]
	var sum uint64
	for i := 0; i < len(part); i += lineWords {
		sum += part[i]
	}
	l.sum = sum
}

// holders returns how many effective holders the run that starts at pos has.
func (l *lookup) countHolders(pos int) (n int, ok bool) {
	h := l.chain[pos]
	s := l.t.stripe(h)
	v := s.Load()
	w, ok := l.run(h, pos)
	if !ok || v&1 != 0 {
		return 0, false
	}
	if w == nil {
		return 0, s.Load() == v
	}
	n = int(uint16(w[3].Load() >> countEffective))
	return n, l.unchanged(w, h, s, v)
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
// most fan of them, and returns how many in a row are there.
func (l *lookup) probe(from, step, end int) (n int, ok bool) {
	shape := l.t.index.state.Load()
	if uint32(shape) == 0 {
		return 0, true
	}
	var bucket [probeWidth]*bucket
	var version [probeWidth]uint32
	many := 0
	for c := from; c < end && many < probeWidth; c += step {
		b := bucketOf(l.chain[c*MaxRun], uint32(shape))
		if int(b/bucketsPerChunk) >= len(l.index) {
			return 0, false
		}
		p := l.lineAt(l.index[b/bucketsPerChunk].Load() + b%bucketsPerChunk)
		if p == nil {
			return 0, false
		}
		bucket[many] = p
		version[many] = l.t.stripe(l.chain[c*MaxRun]).Load()
		many++
	}
	for i := range many { // all misses at once
		bucket[i][0].Load()
	}
	l.first, l.numFound = from, 0
	for ; n < many; n++ {
		pos := (from + n*step) * MaxRun
		ref, ok := l.search(bucket[n], l.chain[pos], pos)
		if !ok {
			return 0, false
		}
		if ref == 0 {
			if v := version[n]; v&1 != 0 || l.t.stripe(l.chain[pos]).Load() != v {
				return 0, false // it is being cut or joined
			}
			break
		}
		if step == 1 {
			l.runs[n] = ref
			l.numFound = n + 1
		}
	}
	return n, l.t.index.state.Load() == shape && shape>>32&1 == 0
}

// visit collects the holders of the run at pos, which is at the start of the
// chain, after those of the runs behind it that end before end. whole says that
// the chain is known to go on to end.
func (l *lookup) visit(pos, end int, whole bool) bool {
	h := l.chain[pos]
	s := l.t.stripe(h)
	v := s.Load()
	if !whole {
		l.prefetch(pos)
	}
	w, ok := l.run(h, pos)
	if !ok || v&1 != 0 {
		return false
	}
	if w == nil {
		return s.Load() == v
	}
	shape := w[3].Load()
	n := int(uint8(shape))
	if n < 1 || n > MaxRun {
		return false // not a run any more
	}
	m := n
	if !whole {
		if m, ok = l.matchLength(w, n, pos); !ok {
			return false
		}
	}
	if at := pos + n; m == n && at < end && at%MaxRun != 0 && uint32(w[5].Load()) > 0 {
		if !l.visit(at, end, whole) {
			return false
		}
	}
	if int(uint16(shape>>countEffective)) > l.numSeen && !l.collect(w, shape, pos, m) {
		return false
	}
	return l.unchanged(w, h, s, v)
}

// matched is how many blocks of the run w are in the chain at pos.
func (l *lookup) matchLength(w *bucket, n, pos int) (int, bool) {
	rest := l.chain[pos:]
	if n <= len(rest) && w[1].Load() == rest[n-1] {
		return n, true
	}
	lo, hi := 1, min(n-1, len(rest))
	if hi <= lo {
		return lo, true
	}
	body := uint32(w[2].Load())
	seg, at := l.dir.seg(body)
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

// collect adds the holders of a run of whose blocks m are in the chain.
func (l *lookup) collect(w *bucket, shape uint64, pos, m int) bool {
	n, class := int(uint16(shape>>countHolders)), int(uint8(shape>>countClass))
	if class == classInline {
		if n > maxInlineHolders {
			return false
		}
		l.add(w[lineWords-maxInlineHolders:][:n], pos, m)
		return true
	}
	ref := uint32(w[4].Load() >> 32)
	if class != classTable {
		return l.addList(ref, n, pos, m)
	}
	seg, at := l.dir.seg(ref)
	if seg == nil || int(at)+listSize > segWords || n > maxHolders {
		return false
	}
	for i := 0; i < n; i += listSize {
		if !l.addList(uint32(seg[int(at)+i/listSize].Load()), min(listSize, n-i), pos, m) {
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

// add adds the holders that were not met before.
func (l *lookup) add(list []atomic.Uint64, pos, m int) {
	for i := range list {
		e := list[i].Load()
		n := holderEffective(e)
		if n == 0 {
			continue
		}
		slot := uint(holderSlot(e)) % MaxUpstreams
		if bit := uint64(1) << (slot % 64); l.seen[slot/64]&bit == 0 {
			l.seen[slot/64] |= bit
			l.numSeen++
			if id := l.t.ids[slot].Load(); id != 0 {
				l.dst = append(l.dst, Match{Upstream(id), int32(pos + min(n, m))})
			}
		}
	}
}

// line returns a line, or nil when its number means nothing.
func (l *lookup) lineAt(ref uint32) *bucket {
	seg, i := l.dir.seg(ref)
	if seg == nil {
		return nil
	}
	return (*bucket)(seg[i : i+lineWords])
}

// run returns the run that starts with h at pos, nil when there is none. What is
// read of it is true only if still says so afterwards.
func (l *lookup) run(h uint64, pos int) (w *bucket, ok bool) {
	if c := pos/MaxRun - l.first; pos%MaxRun == 0 && c >= 0 && c < l.numFound {
		if w = l.lineAt(l.runs[c]); w != nil && w[0].Load() == h && int(w[2].Load()>>32) == pos {
			return w, true
		}
	}
	ref, ok := l.find(h, pos)
	if !ok || ref == 0 {
		return nil, ok
	}
	w = l.lineAt(ref)
	return w, w != nil
}

// still tells whether the run in line w, with head h, is where it was and as it
// was when its stripe s said v. A line that was given back has another first word.
func (l *lookup) unchanged(w *bucket, h uint64, s *atomic.Uint32, v uint32) bool {
	return s.Load() == v && w[0].Load() == h
}

// find is Tree.find without the lock.
func (l *lookup) find(h uint64, pos int) (uint32, bool) {
	shape := l.t.index.state.Load()
	if uint32(shape) == 0 {
		return 0, true
	}
	b := bucketOf(h, uint32(shape))
	if int(b/bucketsPerChunk) >= len(l.index) {
		return 0, false
	}
	p := l.lineAt(l.index[b/bucketsPerChunk].Load() + b%bucketsPerChunk)
	if p == nil {
		return 0, false
	}
	ref, ok := l.search(p, h, pos)
	return ref, ok && l.t.index.state.Load() == shape && shape>>32&1 == 0
}

// search looks for a run through a bucket and those behind it.
func (l *lookup) search(b *bucket, h uint64, pos int) (uint32, bool) {
	for range 1 << 10 { // a chain that never ends is one that changes
		for i := range bucketSlots {
			if s := b[i].Load(); (s^h)>>32 == 0 && s != 0 {
				w := l.lineAt(uint32(s))
				if w == nil {
					return 0, false
				}
				if w[0].Load() == h && int(w[2].Load()>>32) == pos {
					return uint32(s), true
				}
			}
		}
		next := uint32(b[bucketSlots].Load())
		if next == 0 {
			return 0, true
		}
		if b = l.lineAt(next); b == nil {
			return 0, false
		}
	}
	return 0, false
}
