// SPDX-License-Identifier: Apache-2.0

package radixcache

import "sync/atomic"

// MaxRun is the most blocks a run has. Runs never cross a multiple of it in a
// chain, so every chain has a run that starts at each of these places: that is
// where a lookup may jump to.
const MaxRun = 64

// run is a piece of the tree without a branch: one line of the arena. Lookups
// read all but kids and parent under the stripe of head (see open).
type run struct {
	head  atomic.Uint64 // hash of its first block
	last  atomic.Uint64 // hash of its last block
	place atomic.Uint64 // depth of its first block<<32 | line of its hashes
	shape atomic.Uint64 // how many blocks, lines, holders, effective holders; class of the holder list
	links atomic.Uint64 // line of the holder list<<32 | parent
	kids  atomic.Uint64 // exclusive or of the children<<32 | how many
	held  [inlineHolders]atomic.Uint64
}

const (
	shapeLines  = 8
	shapeHolds  = 16
	shapeWhole  = 32
	shapeClass  = 48
	noBodyUnder = 3 // head and last say it all in a run of two
)

func (r *run) depth() int               { return int(r.place.Load() >> 32) }
func (r *run) body() uint32             { return uint32(r.place.Load()) }
func (r *run) len() int                 { return int(uint8(r.shape.Load())) }
func (r *run) lines() int               { return int(uint8(r.shape.Load() >> shapeLines)) }
func (r *run) holders() int             { return int(uint16(r.shape.Load() >> shapeHolds)) }
func (r *run) effective() int           { return int(uint16(r.shape.Load() >> shapeWhole)) }
func (r *run) class() int               { return int(uint8(r.shape.Load() >> shapeClass)) }
func (r *run) hold() uint32             { return uint32(r.links.Load() >> 32) }
func (r *run) parent() uint32           { return uint32(r.links.Load()) }
func (r *run) children() int            { return int(uint32(r.kids.Load())) }
func (r *run) onlyChild() uint32        { return uint32(r.kids.Load() >> 32) }
func (r *run) end() int                 { return r.depth() + r.len() }
func (r *run) setPlace(d int, b uint32) { r.place.Store(uint64(d)<<32 | uint64(b)) }
func (r *run) setHold(ref uint32)       { r.links.Store(uint64(ref)<<32 | uint64(r.parent())) }
func (r *run) setParent(ref uint32)     { r.links.Store(uint64(r.hold())<<32 | uint64(ref)) }

// setShape changes one field of shape.
func (r *run) setShape(shift, width, v int) {
	mask := uint64(1)<<width - 1
	r.shape.Store(r.shape.Load()&^(mask<<shift) | uint64(v)<<shift)
}

func (r *run) setLen(n int)       { r.setShape(0, 8, n) }
func (r *run) setLines(n int)     { r.setShape(shapeLines, 8, n) }
func (r *run) setHolders(n int)   { r.setShape(shapeHolds, 16, n) }
func (r *run) setEffective(n int) { r.setShape(shapeWhole, 16, n) }
func (r *run) setClass(c int)     { r.setShape(shapeClass, 8, c) }

// adopt and disown keep the exclusive or of the children: enough to name the
// only child when one is left, which is when two runs can become one again.
func (r *run) adopt(child uint32)  { r.kids.Store((r.kids.Load() ^ uint64(child)<<32) + 1) }
func (r *run) disown(child uint32) { r.kids.Store((r.kids.Load() ^ uint64(child)<<32) - 1) }

// roomIn is how many blocks a run that starts at depth can have.
func roomIn(depth int) int { return MaxRun - depth%MaxRun }

// A stripe of version numbers covers the runs whose heads share their low
// bits: odd while one of them changes. Lookups compare before and after.
const stripes = 4096

func (t *Tree) stripe(h uint64) *atomic.Uint32 { return &t.versions[h%stripes] }

// open announces that the run with this head changes, shut that it has.
func (t *Tree) open(h uint64) { t.stripe(h).Add(1) }
func (t *Tree) shut(h uint64) { t.stripe(h).Add(1) }

// openTwo is open for two runs, which may share a stripe.
func (t *Tree) openTwo(a, b uint64) {
	t.open(a)
	if t.stripe(a) != t.stripe(b) {
		t.open(b)
	}
}

func (t *Tree) shutTwo(a, b uint64) { t.openTwo(a, b) }

// hash returns the hash of block i of a run.
func (t *Tree) hash(r *run, i int) uint64 {
	switch i {
	case 0:
		return r.head.Load()
	case r.len() - 1:
		return r.last.Load()
	}
	return t.words(r.body(), r.lines()*lineWords)[i].Load()
}

// matched is how many blocks of r are at the start of chain; the first is known to be.
func (t *Tree) matched(r *run, chain []uint64) int {
	n := r.len()
	if n <= len(chain) && r.last.Load() == chain[n-1] {
		return n
	}
	lo, hi := 1, min(n-1, len(chain))
	if hi <= lo {
		return lo
	}
	w := t.words(r.body(), hi)
	for lo < hi { // blocks before lo are equal, the one at hi is not
		if m := int(uint(lo+hi) / 2); w[m].Load() == chain[m] {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo
}

// newRun makes a run of chain under parent. There is room for it (see reserve).
func (t *Tree) newRun(parent uint32, depth int, chain []uint64) uint32 {
	ref := t.take(kindRun)
	r := t.run(ref)
	t.open(chain[0])
	r.head.Store(chain[0])
	r.last.Store(chain[0])
	r.shape.Store(1)
	r.setPlace(depth, 0)
	r.links.Store(uint64(parent))
	r.kids.Store(0)
	t.fill(r, 1, chain[1:])
	t.index.enter(chain[0], runSlot(chain[0], ref))
	t.shut(chain[0])
	if parent != 0 {
		t.run(parent).adopt(ref)
	}
	t.runs++
	t.blocks += len(chain)
	return ref
}

// fill appends to an open run of was blocks.
func (t *Tree) fill(r *run, was int, more []uint64) {
	n := was + len(more)
	if n >= noBodyUnder {
		if n > r.lines()*lineWords {
			if !t.rehouse(r, bodyKind(n)) {
				panic("radixcache: memory was not reserved")
			}
		}
		w := t.words(r.body(), n)
		for i, h := range more {
			w[was+i].Store(h)
		}
	}
	if len(more) > 0 {
		r.last.Store(more[len(more)-1])
	}
	r.setLen(n)
}

// rehouse moves the hashes of an open run into an object of another size.
func (t *Tree) rehouse(r *run, k kind) bool {
	ref := t.alloc(k)
	if ref == 0 {
		return false
	}
	n := min(r.len(), lines[k]*lineWords)
	to := t.words(ref, lines[k]*lineWords)
	for i := range n {
		to[i].Store(t.hash(r, i))
	}
	t.freeBody(r)
	r.setPlace(r.depth(), ref)
	r.setLines(lines[k])
	return true
}

func (t *Tree) freeBody(r *run) {
	if l := r.lines(); l > 0 {
		t.free(kindBody+kind(l-1), r.body())
		r.setPlace(r.depth(), 0)
		r.setLines(0)
	}
}

// shorten cuts an open run to n blocks.
func (t *Tree) shorten(r *run, n int) {
	r.last.Store(t.hash(r, n-1))
	r.setLen(n)
	if n < noBodyUnder {
		t.freeBody(r)
	} else if k := bodyKind(n); lines[k] < r.lines() {
		t.rehouse(r, k) // if there is memory for the smaller one just now
	}
}

// split cuts a run after k blocks. The lower part keeps its number, for its
// children know it by that; the new upper part, which is returned, keeps the
// list of holders, for all of them hold some of it. There is room (see reserve).
func (t *Tree) split(ref uint32, k int) uint32 {
	low, upRef := t.run(ref), t.take(kindRun)
	up := t.run(upRef)
	head, mid := low.head.Load(), t.hash(low, k)
	t.openTwo(head, mid)
	up.head.Store(head)
	up.last.Store(t.hash(low, k-1))
	up.shape.Store(low.shape.Load())
	up.place.Store(low.place.Load())
	up.links.Store(low.links.Load())
	up.kids.Store(uint64(ref)<<32 | 1)
	for i := range up.held {
		up.held[i].Store(low.held[i].Load())
	}
	t.splitBody(up, low, k, mid)
	t.splitHolders(upRef, ref, k)
	t.index.replace(head, runSlot(head, ref), runSlot(head, upRef))
	t.index.enter(mid, runSlot(mid, ref))
	t.shutTwo(head, mid)
	if p := up.parent(); p != 0 {
		t.run(p).disown(ref)
		t.run(p).adopt(upRef)
	}
	low.setParent(upRef)
	t.runs++
	return upRef
}

func (t *Tree) splitBody(up, low *run, k int, mid uint64) {
	n := low.len() - k
	old := low.body()
	low.head.Store(mid)
	low.setPlace(low.depth()+k, 0)
	low.setLen(n)
	low.setLines(0)
	if n >= noBodyUnder {
		kd := bodyKind(n)
		b := t.take(kd)
		from, to := t.words(old, up.lines()*lineWords), t.words(b, n)
		for i := range n {
			to[i].Store(from[k+i].Load())
		}
		low.setPlace(low.depth(), b)
		low.setLines(lines[kd])
	}
	up.setLen(k)
	if k < noBodyUnder {
		t.freeBody(up)
	} else if kd := bodyKind(k); lines[kd] < up.lines() {
		t.rehouse(up, kd)
	}
}

// merge joins a run with its only child if that lies before the next multiple
// of MaxRun. The child's number stays, its children know it by that; the
// parent's list of holders stays, for it has all of the child's.
func (t *Tree) merge(upRef uint32) {
	up := t.run(upRef)
	if up.children() != 1 {
		return
	}
	ref := up.onlyChild()
	low := t.run(ref)
	if low.depth()%MaxRun == 0 || t.onPath(up, low) || !t.roomToMerge(up.len(), low) {
		return
	}
	head, mid := up.head.Load(), low.head.Load()
	t.openTwo(head, mid)
	defer t.shutTwo(head, mid)
	if !t.mergeBody(up, low) {
		return
	}
	t.index.leave(mid, runSlot(mid, ref))
	t.mergeHolders(up, low, ref)
	t.freeBody(low)
	low.head.Store(head)
	low.last.Store(up.last.Load())
	low.shape.Store(up.shape.Load())
	low.place.Store(up.place.Load())
	low.links.Store(up.links.Load())
	for i := range up.held {
		low.held[i].Store(up.held[i].Load())
	}
	t.index.replace(head, runSlot(head, upRef), runSlot(head, ref))
	if p := low.parent(); p != 0 {
		t.run(p).disown(upRef)
		t.run(p).adopt(ref)
	}
	t.free(kindRun, upRef)
	t.runs--
}

// roomToMerge tells whether there is memory for what events said of the holders
// of a run that is to be joined with its parent of k blocks.
func (t *Tree) roomToMerge(k int, low *run) bool {
	if t.told.entries == 0 {
		return true
	}
	var need [kinds]int
	for i := range low.holders() {
		if n := t.claim(holderClaim(t.holderAt(low, i).Load())).toldLines.Load(); n != 0 {
			need[toldKind(min(MaxRun, toldRoom(int(n))+k))]++
		}
	}
	need[bodyKind(MaxRun)]++
	for k := kindBody; k < bodyKind(MaxRun); k++ {
		need[k]++
	}
	return t.pagesLeft() >= t.pagesFor(&need)
}

// mergeBody makes up, which is open, as long as both if there is memory for it.
func (t *Tree) mergeBody(up, low *run) bool {
	k, n := up.len(), up.len()+low.len()
	if n >= noBodyUnder && n > up.lines()*lineWords && !t.rehouse(up, bodyKind(n)) {
		return false
	}
	if n >= noBodyUnder {
		w := t.words(up.body(), n)
		w[k-1].Store(up.last.Load())
		for i := range low.len() {
			w[k+i].Store(t.hash(low, i))
		}
	}
	up.last.Store(low.last.Load())
	up.setLen(n)
	return true
}

// tidy gives back what nobody claims at the end of a branch, upwards, and joins
// runs between which no branch is left.
func (t *Tree) tidy(ref uint32) {
	for ref != 0 {
		r := t.run(ref)
		if r.children() > 0 {
			t.merge(ref)
			return
		}
		most := t.covered(r)
		if most == r.len() || most == 0 && r.holders() > 0 {
			return // the latter: claims that were only there for what is gone now, and go next
		}
		t.blocks -= r.len() - most
		if most > 0 {
			t.open(r.head.Load())
			t.shorten(r, most)
			t.shut(r.head.Load())
			return
		}
		ref = t.dropRun(ref, r)
	}
}

// dropRun frees a run without holders and children and returns its parent.
func (t *Tree) dropRun(ref uint32, r *run) uint32 {
	h, parent := r.head.Load(), r.parent()
	t.open(h)
	t.index.leave(h, runSlot(h, ref))
	t.freeHolders(r)
	t.freeBody(r)
	t.free(kindRun, ref)
	t.shut(h)
	t.runs--
	if parent != 0 {
		t.run(parent).disown(ref)
	}
	return parent
}
