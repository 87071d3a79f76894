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
	head     atomic.Uint64 // hash of its first block
	last     atomic.Uint64 // hash of its last block
	position atomic.Uint64 // depth of its first block<<32 | line of its hashes
	counts   atomic.Uint64 // how many blocks, lines, holders, effective holders; class of the holder list
	links    atomic.Uint64 // line of the holder list<<32 | parent
	childSet atomic.Uint64 // exclusive or of the children<<32 | how many
	inline   [maxInlineHolders]atomic.Uint64
}

const (
	countHashListLines = 8
	countHolders       = 16
	countEffective     = 32
	countClass         = 48
	minHashList        = 3 // head and last say it all in a run of two
)

func (r *run) depth() int                  { return int(r.position.Load() >> 32) }
func (r *run) hashList() uint32            { return uint32(r.position.Load()) }
func (r *run) blocks() int                 { return int(uint8(r.counts.Load())) }
func (r *run) hashListLines() int          { return int(uint8(r.counts.Load() >> countHashListLines)) }
func (r *run) numHolders() int             { return int(uint16(r.counts.Load() >> countHolders)) }
func (r *run) numEffective() int           { return int(uint16(r.counts.Load() >> countEffective)) }
func (r *run) class() int                  { return int(uint8(r.counts.Load() >> countClass)) }
func (r *run) holderList() uint32          { return uint32(r.links.Load() >> 32) }
func (r *run) parent() uint32              { return uint32(r.links.Load()) }
func (r *run) numChildren() int            { return int(uint32(r.childSet.Load())) }
func (r *run) onlyChild() uint32           { return uint32(r.childSet.Load() >> 32) }
func (r *run) end() int                    { return r.depth() + r.blocks() }
func (r *run) setPosition(d int, b uint32) { r.position.Store(uint64(d)<<32 | uint64(b)) }
func (r *run) setHolderList(ref uint32)    { r.links.Store(uint64(ref)<<32 | uint64(r.parent())) }
func (r *run) setParent(ref uint32)        { r.links.Store(uint64(r.holderList())<<32 | uint64(ref)) }

// setShape changes one field of shape.
func (r *run) setCount(shift, width, v int) {
	mask := uint64(1)<<width - 1
	r.counts.Store(r.counts.Load()&^(mask<<shift) | uint64(v)<<shift)
}

func (r *run) setBlocks(n int)        { r.setCount(0, 8, n) }
func (r *run) setHashListLines(n int) { r.setCount(countHashListLines, 8, n) }
func (r *run) setNumHolders(n int)    { r.setCount(countHolders, 16, n) }
func (r *run) setNumEffective(n int)  { r.setCount(countEffective, 16, n) }
func (r *run) setClass(c int)         { r.setCount(countClass, 8, c) }

// adopt and disown keep the exclusive or of the children: enough to name the
// only child when one is left, which is when two runs can become one again.
func (r *run) addChild(child uint32) { r.childSet.Store((r.childSet.Load() ^ uint64(child)<<32) + 1) }
func (r *run) removeChild(child uint32) {
	r.childSet.Store((r.childSet.Load() ^ uint64(child)<<32) - 1)
}

// roomIn is how many blocks a run that starts at depth can have.
func maxBlocksAt(depth int) int { return MaxRun - depth%MaxRun }

// A stripe of version numbers covers the runs whose heads share their low
// bits: odd while one of them changes. Lookups compare before and after.
const numStripes = 4096

func (t *Tree) stripe(h uint64) *atomic.Uint32 { return &t.versions[h%numStripes] }

// open announces that the run with this head changes, shut that it has.
func (t *Tree) beginWrite(h uint64) { t.stripe(h).Add(1) }
func (t *Tree) endWrite(h uint64)   { t.stripe(h).Add(1) }

// openTwo is open for two runs, which may share a stripe.
func (t *Tree) beginWriteTwo(a, b uint64) {
	t.beginWrite(a)
	if t.stripe(a) != t.stripe(b) {
		t.beginWrite(b)
	}
}

func (t *Tree) endWriteTwo(a, b uint64) { t.beginWriteTwo(a, b) }

// hash returns the hash of block i of a run.
func (t *Tree) hashAt(r *run, i int) uint64 {
	switch i {
	case 0:
		return r.head.Load()
	case r.blocks() - 1:
		return r.last.Load()
	}
	return t.words(r.hashList(), r.hashListLines()*lineWords)[i].Load()
}

// matched is how many blocks of r are at the start of chain; the first is known to be.
func (t *Tree) matchLength(r *run, chain []uint64) int {
	n := r.blocks()
	if n <= len(chain) && r.last.Load() == chain[n-1] {
		return n
	}
	lo, hi := 1, min(n-1, len(chain))
	if hi <= lo {
		return lo
	}
	w := t.words(r.hashList(), hi)
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
	ref := t.mustAlloc(kindRun)
	r := t.run(ref)
	t.beginWrite(chain[0])
	r.head.Store(chain[0])
	r.last.Store(chain[0])
	r.counts.Store(1)
	r.setPosition(depth, 0)
	r.links.Store(uint64(parent))
	r.childSet.Store(0)
	t.appendBlocks(r, 1, chain[1:])
	t.index.insert(chain[0], runSlot(chain[0], ref))
	t.endWrite(chain[0])
	if parent != 0 {
		t.run(parent).addChild(ref)
	}
	t.runs++
	t.blocks += len(chain)
	return ref
}

// fill appends to an open run of was blocks.
func (t *Tree) appendBlocks(r *run, was int, more []uint64) {
	n := was + len(more)
	if n >= minHashList {
		if n > r.hashListLines()*lineWords {
			if !t.moveHashList(r, hashListKind(n)) {
				panic("radixcache: memory was not reserved")
			}
		}
		w := t.words(r.hashList(), n)
		for i, h := range more {
			w[was+i].Store(h)
		}
	}
	if len(more) > 0 {
		r.last.Store(more[len(more)-1])
	}
	r.setBlocks(n)
}

// rehouse moves the hashes of an open run into an object of another size.
func (t *Tree) moveHashList(r *run, k kind) bool {
	ref := t.alloc(k)
	if ref == 0 {
		return false
	}
	n := min(r.blocks(), kindLines[k]*lineWords)
	to := t.words(ref, kindLines[k]*lineWords)
	for i := range n {
		to[i].Store(t.hashAt(r, i))
	}
	t.freeHashList(r)
	r.setPosition(r.depth(), ref)
	r.setHashListLines(kindLines[k])
	return true
}

func (t *Tree) freeHashList(r *run) {
	if l := r.hashListLines(); l > 0 {
		t.free(kindHashList+kind(l-1), r.hashList())
		r.setPosition(r.depth(), 0)
		r.setHashListLines(0)
	}
}

// shorten cuts an open run to n blocks.
func (t *Tree) truncate(r *run, n int) {
	r.last.Store(t.hashAt(r, n-1))
	r.setBlocks(n)
	if n < minHashList {
		t.freeHashList(r)
	} else if k := hashListKind(n); kindLines[k] < r.hashListLines() {
		t.moveHashList(r, k) // if there is memory for the smaller one just now
	}
}

// split cuts a run after k blocks. The lower part keeps its number, for its
// children know it by that; the new upper part, which is returned, keeps the
// list of holders, for all of them hold some of it. There is room (see reserve).
func (t *Tree) split(ref uint32, k int) uint32 {
	low, upRef := t.run(ref), t.mustAlloc(kindRun)
	up := t.run(upRef)
	head, mid := low.head.Load(), t.hashAt(low, k)
	t.beginWriteTwo(head, mid)
	up.head.Store(head)
	up.last.Store(t.hashAt(low, k-1))
	up.counts.Store(low.counts.Load())
	up.position.Store(low.position.Load())
	up.links.Store(low.links.Load())
	up.childSet.Store(uint64(ref)<<32 | 1)
	for i := range up.inline {
		up.inline[i].Store(low.inline[i].Load())
	}
	t.splitHashes(up, low, k, mid)
	t.splitHolders(upRef, ref, k)
	t.index.replace(head, runSlot(head, ref), runSlot(head, upRef))
	t.index.insert(mid, runSlot(mid, ref))
	t.endWriteTwo(head, mid)
	if p := up.parent(); p != 0 {
		t.run(p).removeChild(ref)
		t.run(p).addChild(upRef)
	}
	low.setParent(upRef)
	t.runs++
	return upRef
}

func (t *Tree) splitHashes(up, low *run, k int, mid uint64) {
	n := low.blocks() - k
	old := low.hashList()
	low.head.Store(mid)
	low.setPosition(low.depth()+k, 0)
	low.setBlocks(n)
	low.setHashListLines(0)
	if n >= minHashList {
		kd := hashListKind(n)
		b := t.mustAlloc(kd)
		from, to := t.words(old, up.hashListLines()*lineWords), t.words(b, n)
		for i := range n {
			to[i].Store(from[k+i].Load())
		}
		low.setPosition(low.depth(), b)
		low.setHashListLines(kindLines[kd])
	}
	up.setBlocks(k)
	if k < minHashList {
		t.freeHashList(up)
	} else if kd := hashListKind(k); kindLines[kd] < up.hashListLines() {
		t.moveHashList(up, kd)
	}
}

// merge joins a run with its only child if that lies before the next multiple
// of MaxRun. The child's number stays, its children know it by that; the
// parent's list of holders stays, for it has all of the child's.
func (t *Tree) merge(upRef uint32) {
	up := t.run(upRef)
	if up.numChildren() != 1 {
		return
	}
	ref := up.onlyChild()
	low := t.run(ref)
	if low.depth()%MaxRun == 0 || t.mergeBlocked(up, low) || !t.roomToMerge(up.blocks(), low) {
		return
	}
	head, mid := up.head.Load(), low.head.Load()
	t.beginWriteTwo(head, mid)
	defer t.endWriteTwo(head, mid)
	if !t.mergeHashes(up, low) {
		return
	}
	t.index.remove(mid, runSlot(mid, ref))
	t.mergeHolders(up, low, ref)
	t.freeHashList(low)
	low.head.Store(head)
	low.last.Store(up.last.Load())
	low.counts.Store(up.counts.Load())
	low.position.Store(up.position.Load())
	low.links.Store(up.links.Load())
	for i := range up.inline {
		low.inline[i].Store(up.inline[i].Load())
	}
	t.index.replace(head, runSlot(head, upRef), runSlot(head, ref))
	if p := low.parent(); p != 0 {
		t.run(p).removeChild(upRef)
		t.run(p).addChild(ref)
	}
	t.free(kindRun, upRef)
	t.runs--
}

// roomToMerge tells whether there is memory for what events said of the holders
// of a run that is to be joined with its parent of k blocks.
func (t *Tree) roomToMerge(k int, low *run) bool {
	if t.byKey.entries == 0 {
		return true
	}
	var need [kinds]int
	for i := range low.numHolders() {
		if n := t.claim(holderClaim(t.holderAt(low, i).Load())).recordLines.Load(); n != 0 {
			need[recordKind(min(MaxRun, recordCapacity(int(n))+k))]++
		}
	}
	need[hashListKind(MaxRun)]++
	for k := kindHashList; k < hashListKind(MaxRun); k++ {
		need[k]++
	}
	return t.pagesLeft() >= t.pagesFor(&need)
}

// mergeBody makes up, which is open, as long as both if there is memory for it.
func (t *Tree) mergeHashes(up, low *run) bool {
	k, n := up.blocks(), up.blocks()+low.blocks()
	if n >= minHashList && n > up.hashListLines()*lineWords && !t.moveHashList(up, hashListKind(n)) {
		return false
	}
	if n >= minHashList {
		w := t.words(up.hashList(), n)
		w[k-1].Store(up.last.Load())
		for i := range low.blocks() {
			w[k+i].Store(t.hashAt(low, i))
		}
	}
	up.last.Store(low.last.Load())
	up.setBlocks(n)
	return true
}

// tidy gives back what nobody claims at the end of a branch, upwards, and joins
// runs between which no branch is left.
func (t *Tree) prune(ref uint32) {
	for ref != 0 {
		r := t.run(ref)
		if r.numChildren() > 0 {
			t.merge(ref)
			return
		}
		most := t.coveredBlocks(r)
		if most == r.blocks() || most == 0 && r.numHolders() > 0 {
			return // the latter: claims that were only there for what is gone now, and go next
		}
		t.blocks -= r.blocks() - most
		if most > 0 {
			t.beginWrite(r.head.Load())
			t.truncate(r, most)
			t.endWrite(r.head.Load())
			return
		}
		ref = t.dropRun(ref, r)
	}
}

// dropRun frees a run without holders and children and returns its parent.
func (t *Tree) dropRun(ref uint32, r *run) uint32 {
	h, parent := r.head.Load(), r.parent()
	t.beginWrite(h)
	t.index.remove(h, runSlot(h, ref))
	t.freeHolders(r)
	t.freeHashList(r)
	t.free(kindRun, ref)
	t.endWrite(h)
	t.runs--
	if parent != 0 {
		t.run(parent).removeChild(ref)
	}
	return parent
}
