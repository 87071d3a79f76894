// SPDX-License-Identifier: Apache-2.0

package radixcache

import "sync/atomic"

// MaxRun is the most blocks a run has. Runs never cross a multiple of it in a
// chain, so every chain has a run that starts at each of these places. Lookups
// may jump there.
const MaxRun = 64

// A run of up to two blocks has no hash list: head and last are all its hashes.
const minHashList = 3

// maxBlocksAt returns the most blocks of a run that starts at depth.
func maxBlocksAt(depth int) int { return MaxRun - depth%MaxRun }

// numStripes is the number of version numbers. Runs whose heads are equal in
// their low bits share one.
const numStripes = 4096

// version returns the version number of runs with this head. It is odd while one
// of them changes. Lookups compare it before and after.
func (t *Tree) version(h uint64) *atomic.Uint32 { return &t.versions[h%numStripes] }

// beginWrite announces a change of the run with this head, endWrite its end.
func (t *Tree) beginWrite(h uint64) { t.version(h).Add(1) }
func (t *Tree) endWrite(h uint64)   { t.version(h).Add(1) }

// beginWriteTwo is beginWrite for two runs, which may share a version number.
func (t *Tree) beginWriteTwo(a, b uint64) {
	t.beginWrite(a)
	if t.version(a) != t.version(b) {
		t.beginWrite(b)
	}
}

func (t *Tree) endWriteTwo(a, b uint64) { t.beginWriteTwo(a, b) }

// findRun returns the run that starts with h at depth, or 0. The caller holds mu.
func (t *Tree) findRun(h uint64, depth int) uint32 {
	t.addWork(1)
	for b := t.index.first(h); b != nil; b = t.index.next(b) {
		for i := range b.slots {
			if s := b.slots[i].Load(); runSlotMatches(s, h) {
				if r := t.run(slotRun(s)); r.head.Load() == h && r.depth() == depth {
					return slotRun(s)
				}
			}
		}
	}
	return 0
}

// hashAt returns the hash of block i of a run.
func (t *Tree) hashAt(r *run, i int) uint64 {
	switch i {
	case 0:
		return r.head.Load()
	case r.blocks() - 1:
		return r.last.Load()
	}
	return t.words(r.hashList(), r.hashListLines()*lineWords)[i].Load()
}

// matchLength returns the number of blocks of r that the chain starts with. The
// first is known to be equal.
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

// newRun makes a run of chain under parent. Its memory is reserved.
func (t *Tree) newRun(parent uint32, depth int, chain []uint64) uint32 {
	ref := t.mustAlloc(kindRun)
	r := t.run(ref)
	t.beginWrite(chain[0])
	r.head.Store(chain[0])
	r.last.Store(chain[0])
	r.counts.Store(0)
	r.setBlocks(1)
	r.setPosition(depth, 0)
	r.links.Store(0)
	r.setParent(parent)
	r.childSet.Store(0)
	t.appendBlocks(r, 1, chain[1:])
	t.index.insert(chain[0], newRunSlot(chain[0], ref))
	t.endWrite(chain[0])
	if parent != 0 {
		t.run(parent).addChild(ref)
	}
	t.runs++
	t.blocks += len(chain)
	return ref
}

// appendBlocks appends to a run of old blocks. The caller has begun a write.
func (t *Tree) appendBlocks(r *run, old int, more []uint64) {
	n := old + len(more)
	if n >= minHashList {
		if n > r.hashListLines()*lineWords {
			if !t.moveHashList(r, hashListKind(n)) {
				panic("radixcache: memory was not reserved")
			}
		}
		w := t.words(r.hashList(), n)
		for i, h := range more {
			w[old+i].Store(h)
		}
	}
	if len(more) > 0 {
		r.last.Store(more[len(more)-1])
	}
	r.setBlocks(n)
}

// moveHashList moves the hashes of a run into an object of another kind, if
// there is memory. The caller has begun a write.
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

// truncate cuts a run to n blocks. The caller has begun a write.
func (t *Tree) truncate(r *run, n int) {
	r.last.Store(t.hashAt(r, n-1))
	r.setBlocks(n)
	if n < minHashList {
		t.freeHashList(r)
	} else if k := hashListKind(n); kindLines[k] < r.hashListLines() {
		t.moveHashList(r, k) // stays in the larger one when there is no memory just now
	}
}

// copyRun makes the line of one run a copy of another's, but for the children.
func copyRun(to, from *run) {
	to.head.Store(from.head.Load())
	to.last.Store(from.last.Load())
	to.counts.Store(from.counts.Load())
	to.position.Store(from.position.Load())
	to.links.Store(from.links.Load())
	for i := range to.inline {
		to.inline[i].Store(from.inline[i].Load())
	}
}

// split cuts a run after k blocks and returns the new upper part. The lower part
// keeps its reference, because its children know it by that. The upper part keeps
// the list of holders, because all of them hold some of it. The memory is reserved.
func (t *Tree) split(ref uint32, k int) uint32 {
	low, upRef := t.run(ref), t.mustAlloc(kindRun)
	up := t.run(upRef)
	head, mid := low.head.Load(), t.hashAt(low, k)
	t.beginWriteTwo(head, mid)
	last := t.hashAt(low, k-1)
	copyRun(up, low)
	up.last.Store(last)
	up.setOnlyChild(ref)
	t.splitHashes(up, low, k, mid)
	t.splitHolders(upRef, ref, k)
	t.index.replace(head, newRunSlot(head, ref), newRunSlot(head, upRef))
	t.index.insert(mid, newRunSlot(mid, ref))
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
		list := t.mustAlloc(kd)
		from, to := t.words(old, up.hashListLines()*lineWords), t.words(list, n)
		for i := range n {
			to[i].Store(from[k+i].Load())
		}
		low.setPosition(low.depth(), list)
		low.setHashListLines(kindLines[kd])
	}
	up.setBlocks(k)
	if k < minHashList {
		t.freeHashList(up)
	} else if kd := hashListKind(k); kindLines[kd] < up.hashListLines() {
		t.moveHashList(up, kd)
	}
}

// merge joins a run with its only child if that starts before the next multiple
// of MaxRun. The child's reference stays, because its children know it by that.
// The parent's list of holders stays, because it has all of the child's.
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
	t.index.remove(mid, newRunSlot(mid, ref))
	t.mergeHolders(up, low, ref)
	t.freeHashList(low)
	copyRun(low, up)
	t.index.replace(head, newRunSlot(head, upRef), newRunSlot(head, ref))
	if p := low.parent(); p != 0 {
		t.run(p).removeChild(upRef)
		t.run(p).addChild(ref)
	}
	t.free(kindRun, upRef)
	t.runs--
}

// roomToMerge tells whether there is memory for the records of the holders of a
// run that is to be joined with its parent of k blocks.
func (t *Tree) roomToMerge(k int, low *run) bool {
	if t.byKey.entries == 0 {
		return true
	}
	var need [kinds]int
	for i := range low.numHolders() {
		if n := t.claim(t.holder(low, i).claim()).recordLines.Load(); n != 0 {
			need[recordKind(min(MaxRun, recordCapacity(int(n))+k))]++
		}
	}
	need[hashListKind(MaxRun)]++
	for k := kindHashList; k < hashListKind(MaxRun); k++ {
		need[k]++
	}
	return t.pagesLeft() >= t.pagesFor(&need)
}

// mergeHashes makes up as long as both, if there is memory for it. The caller
// has begun a write.
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

// prune frees the unclaimed blocks at the end of a branch, upwards, and joins
// runs that no branch separates any more.
func (t *Tree) prune(ref uint32) {
	for ref != 0 {
		r := t.run(ref)
		if r.numChildren() > 0 {
			t.merge(ref)
			return
		}
		covered := t.coveredBlocks(r)
		if covered == r.blocks() {
			return
		}
		if covered == 0 && r.numHolders() > 0 {
			return // these claims are empty and will be dropped next
		}
		t.blocks -= r.blocks() - covered
		if covered > 0 {
			t.beginWrite(r.head.Load())
			t.truncate(r, covered)
			t.endWrite(r.head.Load())
			return
		}
		ref = t.freeRun(ref, r)
	}
}

// freeRun frees a run without holders and children and returns its parent.
func (t *Tree) freeRun(ref uint32, r *run) uint32 {
	h, parent := r.head.Load(), r.parent()
	t.beginWrite(h)
	t.index.remove(h, newRunSlot(h, ref))
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
