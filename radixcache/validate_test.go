// SPDX-License-Identifier: Apache-2.0

package radixcache

import (
	"fmt"
	"math/bits"
)

// validate recounts everything that a tree notes about itself and returns the
// first difference. Nothing else may be using the tree.
func (t *Tree) validate() error {
	return t.validateAs(true)
}

// validateBetween is validate while an operation has let others in.
func (t *Tree) validateBetween() error {
	return t.validateAs(false)
}

func (t *Tree) validateAs(atRest bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := newValidator(t, atRest)
	v.pages()
	v.indexed()
	v.table(&t.byKey, func(s uint64) {
		if c := t.claim(keySlotClaim(s)); t.copiesOf(c, keySlotBlock(s)) == 0 || !keySlotMatches(s, t.keySlotHash(s)) {
			v.fail("key slot %x names nothing", s)
		}
	})
	v.upstreams()
	if v.err == nil && (v.runs != t.runs || v.blocks != t.blocks || v.claims != t.claims) {
		v.fail("counted %d runs %d blocks %d claims, noted %d %d %d", v.runs, v.blocks, v.claims, t.runs, t.blocks, t.claims)
	}
	if v.keys != t.byKey.entries {
		v.fail("%d blocks with a key, noted %d", v.keys, t.byKey.entries)
	}
	for k := kindRun; k < kinds && v.err == nil; k++ {
		if v.used[k] != t.usedObjects[k] {
			v.fail("kind %d: %d reachable, %d in use", k, v.used[k], t.usedObjects[k])
		}
	}
	return v.err
}

// validator counts the reachable objects. Its slices are indexed by page or by line.
type validator struct {
	t                    *Tree
	err                  error
	atRest               bool     // no operation is under way
	inUse                []uint64 // of each page, see objectsInUse
	seen                 []uint64 // lines of each page at which an object was reached
	children             []int32  // of the run at a line
	childSet             []uint32
	age                  []int32 // place of the claim at a line in the list by age
	used                 [kinds]int
	runs, blocks, claims int
	keys                 int
}

func newValidator(t *Tree, atRest bool) *validator {
	d := t.dir.Load()
	segs := 1 + lastUsed(len(d.segs), func(i int) bool { return d.segs[i].Load() != nil })
	v := &validator{
		t: t, atRest: atRest,
		inUse: make([]uint64, segs*segPages), seen: make([]uint64, segs*segPages),
		children: make([]int32, segs*segLines), childSet: make([]uint32, segs*segLines),
		age: make([]int32, segs*segLines),
	}
	for pg := range v.inUse {
		if d.segs[pg/segPages].Load() != nil {
			v.inUse[pg] = t.objectsInUse(uint32(pg))
		}
	}
	return v
}

func (v *validator) fail(format string, args ...any) {
	if v.err == nil {
		v.err = fmt.Errorf(format, args...)
	}
}

// object notes that an object is reachable, once, and lies on a page of its kind.
func (v *validator) object(ref uint32, k kind) {
	pg, bit := ref/pageLines, uint64(1)<<(ref%pageLines)
	if v.seen[pg]&bit != 0 {
		v.fail("line %d is used twice, once as kind %d", ref, k)
	}
	v.seen[pg] |= bit
	v.used[k]++
	if got := v.t.page(pg).kind(); got != k {
		v.fail("line %d: page of kind %d, want %d", ref, got, k)
	} else if v.inUse[pg]&bit == 0 {
		v.fail("line %d of kind %d is free", ref, k)
	}
}

// pages recounts the arena: free pages, free objects, segments, the limit.
func (v *validator) pages() {
	t := v.t
	d := t.dir.Load()
	var segs, numFree int
	var free, used [kinds]int
	for s := range d.segs {
		if d.segs[s].Load() == nil {
			continue
		}
		segs++
		for pg := uint32(s * segPages); pg < uint32(s*segPages+segPages); pg++ {
			p := t.page(pg)
			if p.closed() && v.atRest {
				v.fail("page %d is closed", pg)
			}
			if p.kind() == kindFree {
				if !p.closed() {
					numFree++
				}
				continue
			}
			n := bits.OnesCount64(v.inUse[pg])
			if n != p.live() || n == 0 && !p.closed() {
				v.fail("page %d: %d objects, noted %d", pg, n, p.live())
			}
			used[p.kind()] += n
			if !p.closed() {
				free[p.kind()] += objects(pg, p.kind()) - n
			}
		}
	}
	if segs != t.segments || numFree != t.numFreePages || free != t.freeObjects || used != t.usedObjects {
		v.fail("arena: %d segments %d free pages, noted %d %d; free %v noted %v; used %v noted %v",
			segs, numFree, t.segments, t.numFreePages, free, t.freeObjects, used, t.usedObjects)
	}
	if v.atRest && t.segments > 0 && t.fixedBytes()+int64(t.segments)*segmentBytes > t.limit {
		v.fail("%d bytes over the limit of %d", t.fixedBytes()+int64(t.segments)*segmentBytes, t.limit)
	}
}

// indexed walks the index and checks every run it finds.
func (v *validator) indexed() {
	t := v.t
	var runs []uint32
	v.table(&t.index, func(s uint64) {
		ref := slotRun(s)
		if !runSlotMatches(s, t.run(ref).head.Load()) {
			v.fail("slot of run %d has other bits than its hash", ref)
		}
		v.object(ref, kindRun)
		runs = append(runs, ref)
		if p := t.run(ref).parent(); p != 0 {
			v.children[p]++
			v.childSet[p] ^= ref
		}
	})
	for _, ref := range runs {
		if v.err == nil {
			v.run(ref)
		}
	}
}

// table walks the buckets of a table.
func (v *validator) table(x *hashTable, each func(slot uint64)) {
	n := x.buckets()
	for i := range *x.chunks.Load() {
		if c := (*x.chunks.Load())[i].Load(); c != 0 { // one may be allocated ahead
			v.object(c, kindChunk)
		} else if uint32(i*bucketsPerChunk) < n {
			v.fail("chunk %d is missing", i)
			return
		}
	}
	entries := 0
	for b := range n {
		for l := x.bucket(b); l != nil; l = x.next(l) {
			for i := range l.slots {
				if s := l.slots[i].Load(); s != 0 {
					entries++
					if bucketOf(x.hashOf(s), n) != b {
						v.fail("slot %x in the wrong bucket", s)
					}
					each(s)
				}
			}
			if x.next(l) != nil {
				v.object(l.next(), kindBucket)
				if emptyBucket(x.next(l)) {
					v.fail("empty overflow bucket")
				}
			}
		}
	}
	if entries != x.entries {
		v.fail("%d entries in a table, noted %d", entries, x.entries)
	}
}

func (v *validator) run(ref uint32) {
	t := v.t
	r := t.run(ref)
	n, children := r.blocks(), int(v.children[ref])
	v.runs++
	v.blocks += n
	if n == 0 || n > maxBlocksAt(r.depth()) {
		v.fail("run %d at depth %d has %d blocks", ref, r.depth(), n)
	}
	if r.numChildren() != children || children > 0 && r.onlyChild() != v.childSet[ref] {
		v.fail("run %d: %d children, noted %d", ref, children, r.numChildren())
	}
	if n == 1 && r.head.Load() != r.last.Load() {
		v.fail("run %d of one block: head is not last", ref)
	}
	if r.hashListLines() > 0 {
		v.object(r.hashList(), kindHashList+kind(r.hashListLines()-1))
		w := t.words(r.hashList(), n)
		if n > r.hashListLines()*lineWords || w[0].Load() != r.head.Load() || w[n-1].Load() != r.last.Load() {
			v.fail("run %d: the hash list does not fit", ref)
		}
	} else if n >= minHashList {
		v.fail("run %d of %d blocks has no hash list", ref, n)
	}
	if p := r.parent(); p == 0 && r.depth() != 0 || p != 0 && t.run(p).end() != r.depth() {
		v.fail("run %d at depth %d does not follow its parent %d", ref, r.depth(), p)
	}
	v.holders(ref, r)
	if r.numHolders() == 0 {
		v.fail("run %d has no holder", ref)
	}
	if covered := t.coveredBlocks(r); children == 0 && covered != n && !(covered == 0 && t.onlyEmptyClaims(r)) {
		v.fail("leaf %d of %d blocks is covered up to %d", ref, n, covered)
	}
}

func (v *validator) holders(ref uint32, r *run) {
	t := v.t
	switch c := r.class(); {
	case c == classTable:
		v.object(r.holderList(), kindListTable)
		for i := 0; i < r.numHolders(); i += listSize {
			v.object(lower(t.tableEntry(r, i/listSize).Load()), kindHolderList64)
		}
	case c != classInline:
		v.object(r.holderList(), kindHolderList+kind(c-1))
	}
	effective := 0
	var slots [MaxUpstreams / 64]uint64
	parent := t.indexHolders(r.parent())
	for i := range r.numHolders() {
		h := t.holder(r, i)
		c := t.claim(h.claim())
		bit := uint64(1) << (h.slot() % 64)
		if c.run.Load() != ref || int(c.slot.Load()) != h.slot() || slots[h.slot()/64]&bit != 0 {
			v.fail("run %d: holder %d names another claim", ref, i)
			return
		}
		slots[h.slot()/64] |= bit
		if covered := coverage(c.present.Load()); covered != h.covered() || covered > r.blocks() {
			v.fail("run %d of %d: holder %d covers %d, noted %d", ref, r.blocks(), i, covered, h.covered())
		}
		if want := v.effective(ref, h, c, parent); want != h.effective() {
			v.fail("run %d: upstream %d effective %d, noted %d", ref, h.slot(), want, h.effective())
		}
		if h.effective() > 0 {
			effective++
		}
	}
	if effective != r.numEffective() {
		v.fail("run %d: %d effective holders, noted %d", ref, effective, r.numEffective())
	}
}

// effective returns the number of effective blocks that a holder should have. parent is the run
// before, whose holders are in holderIndex.
func (v *validator) effective(ref uint32, h holder, c *claim, parent *run) int {
	t := v.t
	want, allowed, pending := contiguous(c.present.Load()), true, false
	if parent != nil {
		i := int(t.holderIndex[h.slot()])
		if i >= parent.numHolders() || t.holder(parent, i).slot() != h.slot() {
			v.fail("run %d: upstream %d has no claim on the parent", ref, h.slot())
			return 0
		}
		p := t.holder(parent, i)
		if allowed = p.effective() == parent.blocks(); !allowed {
			want = 0
		}
		pending = t.claim(p.claim()).state.Load() != idle
	}
	// The child claims of a claim on a path may not count yet, or not any more. A
	// claim that is lowering may still count as before, if its parent allows it.
	switch got := h.effective(); {
	case c.state.Load() == lowering && got >= want && (want > 0 || got == 0 || allowed):
		return got
	case got == 0 && pending:
		return 0
	}
	return want
}

// onlyEmptyClaims tells whether all claims on a run wait to be dropped.
func (t *Tree) onlyEmptyClaims(r *run) bool {
	for i := range r.numHolders() {
		if h := t.holder(r, i); t.ups[h.slot()].emptyClaim != h.claim() {
			return false
		}
	}
	return r.numHolders() > 0
}

// path checks the claims of u that are lowering or raising: there are notIdle.
func (v *validator) path(u *upstream, notIdle int) {
	t := v.t
	if v.atRest && u.hasPending() {
		v.fail("something is pending for upstream %d", u.slot)
	}
	n, below := 0, uint32(0)
	for ref := u.pathEnd; ref != 0; ref = t.parentClaim(t.claim(ref)) {
		c := t.claim(ref)
		if c.state.Load() == idle {
			break
		}
		n++
		cursor := c.cursor.Load()
		if below != 0 && cursor != below {
			v.fail("the cursor of claim %d is %d, but the path goes on at %d", ref, cursor, below)
		}
		if cursor != 0 && t.parentClaim(t.claim(cursor)) != ref {
			v.fail("the cursor of claim %d is %d, which is no child claim", ref, cursor)
		}
		below = ref
	}
	if n != notIdle {
		v.fail("upstream %d: path of %d claims, %d are not idle", u.slot, n, notIdle)
	}
}

// upstreams checks the lists by age, the trees of claims, the heap, and the sums.
func (v *validator) upstreams() {
	t := v.t
	queued := map[int]bool{}
	for _, s := range t.heap {
		queued[int(s)] = true
	}
	pending := 0
	for slot, u := range t.ups {
		if u == nil || v.err != nil {
			continue
		}
		v.ageList(slot, u)
		if u.oldest != 0 && (!queued[slot] || !u.inHeap || u.heapKey > t.claim(u.oldest).stamp.Load()) {
			v.fail("upstream %d is not in the heap as it should be", slot)
		}
		if u.inHeap && t.ups[t.heap[u.heapIndex]] != u {
			v.fail("upstream %d is at another place in the heap than noted", slot)
		}
		if u.hasPending() {
			pending++
		}
	}
	if pending != t.pendingUpstreams {
		v.fail("something is pending for %d upstreams, noted %d", pending, t.pendingUpstreams)
	}
}

// ageList checks the claims of one upstream.
func (v *validator) ageList(slot int, u *upstream) {
	t := v.t
	n, blocks, tokens, notIdle := 0, 0, int64(0), 0
	older, stamp := uint32(0), uint64(0)
	for ref := u.oldest; ref != 0 && v.err == nil; ref = t.claim(ref).younger.Load() {
		c := t.claim(ref)
		v.object(ref, kindClaim)
		v.age[ref] = int32(n)
		n++
		blocks += c.blocks()
		tokens += int64(c.blocks()) * int64(c.weight.Load())
		if c.older.Load() != older || c.stamp.Load() < stamp || int(c.slot.Load()) != slot {
			v.fail("upstream %d: list by age broken at claim %d", slot, ref)
		}
		v.record(ref, c)
		if c.state.Load() != idle {
			notIdle++
		}
		if c.present.Load() == 0 && c.child.Load() == 0 && u.emptyClaim != ref {
			v.fail("upstream %d: claim %d is empty", slot, ref)
		}
		older, stamp = ref, c.stamp.Load()
	}
	v.claims += n
	if u.youngest != older || blocks != u.blocks || tokens != u.tokens {
		v.fail("upstream %d: %d blocks %d tokens, noted %d %d", slot, blocks, tokens, u.blocks, u.tokens)
	}
	if v.err != nil {
		return
	}
	v.path(u, notIdle)
	if inTree := v.descendants(u, u.roots, 0); v.err == nil && inTree != n {
		v.fail("upstream %d: %d claims in the tree, %d in the list", slot, inTree, n)
	}
}

// record checks the keys and copies of a claim.
func (v *validator) record(ref uint32, c *claim) {
	t := v.t
	n := int(c.recordLines.Load())
	if n == 0 {
		return
	}
	v.object(c.record.Load(), kindRecord+kind(n-1))
	w := t.recordOf(c)
	if w.claim() != ref {
		v.fail("record of claim %d names %d", ref, w.claim())
	}
	for block := range w.capacity() {
		if w.copies(block) == 0 {
			continue
		}
		v.keys++
		if r, b := t.findKey(t.ups[c.slot.Load()], w.key(block)); r != ref || b != block || c.present.Load()>>block&1 == 0 {
			v.fail("block %d of claim %d is not found by its key", block, ref)
		}
	}
	if w.empty() {
		v.fail("claim %d has an empty record", ref)
	}
}

// descendants counts the claims below a parent claim, from its first child claim
// on. It checks that each is older than its parent and on a child of its run.
func (v *validator) descendants(u *upstream, first, parent uint32) (n int) {
	t := v.t
	prev, run := uint32(0), uint32(0)
	if parent != 0 {
		run = t.claim(parent).run.Load()
	}
	for ref := first; ref != 0 && v.err == nil; ref = t.claim(ref).next.Load() {
		c := t.claim(ref)
		n += 1 + v.descendants(u, c.child.Load(), ref)
		if c.prev.Load() != prev || int(c.slot.Load()) != u.slot || t.run(c.run.Load()).parent() != run {
			v.fail("claim %d is listed below claim %d, which is not on the parent of its run", ref, parent)
		}
		if parent != 0 && v.age[ref] >= v.age[parent] {
			v.fail("claim %d is younger than its parent claim %d", ref, parent)
		}
		prev = ref
	}
	return n
}
