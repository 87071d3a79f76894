// SPDX-License-Identifier: Apache-2.0

package radixcache

import (
	"fmt"
	"math/bits"
)

// validate recounts everything a tree claims about itself and returns what is
// not so. Nothing else may be using the tree.
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
	v := validator{t: t, seen: map[uint32]kind{}, atRest: atRest}
	v.pages()
	v.indexed()
	v.table(&t.byKey, func(s uint64) {
		if c := t.claim(uint32(s)); t.copies(c, keySlotBlock(s)) == 0 || t.keySlotHash(s)>>keySlotTagShift != s>>keySlotTagShift {
			v.fail("told slot %x names nothing", s)
		}
	})
	v.upstreams()
	if v.err == nil && (v.runs != t.runs || v.blocks != t.blocks || v.claims != t.claims) {
		v.fail("counted %d runs %d blocks %d claims, noted %d %d %d", v.runs, v.blocks, v.claims, t.runs, t.blocks, t.claims)
	}
	if v.tellings != t.byKey.entries {
		v.fail("%d blocks told of, noted %d", v.tellings, t.byKey.entries)
	}
	for k := kindRun; k < kinds && v.err == nil; k++ {
		if v.used[k] != t.usedObjects[k] {
			v.fail("kind %d: %d reachable, %d in use", k, v.used[k], t.usedObjects[k])
		}
	}
	return v.err
}

type validator struct {
	t                    *Tree
	err                  error
	seen                 map[uint32]kind
	used                 [kinds]int
	runs, blocks, claims int
	tellings             int
	atRest               bool // no operation is under way
}

func (v *validator) fail(format string, args ...any) {
	if v.err == nil {
		v.err = fmt.Errorf(format, args...)
	}
}

// object notes that an object is reachable, once, and lies on a page of its kind.
func (v *validator) object(ref uint32, k kind) {
	if was, ok := v.seen[ref]; ok {
		v.fail("line %d used twice, as %d and %d", ref, was, k)
	}
	v.seen[ref] = k
	v.used[k]++
	if got := v.t.page(ref / pageLines).kind(); got != k {
		v.fail("line %d: page of kind %d, want %d", ref, got, k)
	} else if v.t.objectsInUse(ref/pageLines)>>(ref%pageLines)&1 == 0 {
		v.fail("line %d of kind %d is free", ref, k)
	}
}

// pages recounts the arena: free pages, free objects, segments, the limit.
func (v *validator) pages() {
	t := v.t
	d := t.dir.Load()
	var segs, spares int
	var vacant, used [kinds]int
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
					spares++
				}
				continue
			}
			n := bits.OnesCount64(t.objectsInUse(pg))
			if n != p.live() || n == 0 && !p.closed() {
				v.fail("page %d: %d live, noted %d", pg, n, p.live())
			}
			used[p.kind()] += n
			if !p.closed() {
				vacant[p.kind()] += objects(pg, p.kind()) - n
			}
		}
	}
	if segs != t.segments || spares != t.numFreePages || vacant != t.freeObjects || used != t.usedObjects {
		v.fail("arena: %d segments %d spare pages, noted %d %d; vacant %v noted %v; used %v noted %v",
			segs, spares, t.segments, t.numFreePages, vacant, t.freeObjects, used, t.usedObjects)
	}
	if v.atRest && t.segments > 0 && t.fixedBytes()+int64(t.segments)*segmentBytes > t.limit {
		v.fail("%d bytes over the limit of %d", t.fixedBytes()+int64(t.segments)*segmentBytes, t.limit)
	}
}

// indexed walks the index and checks every run it finds.
func (v *validator) indexed() {
	t := v.t
	children := map[uint32]int{}
	xor := map[uint32]uint32{}
	var runs []uint32
	v.table(&t.index, func(s uint64) {
		ref := uint32(s)
		if h := t.run(ref).head.Load(); h>>32 != s>>32 {
			v.fail("slot of run %d has other bits than its hash", ref)
		}
		v.object(ref, kindRun)
		runs = append(runs, ref)
		if p := t.run(ref).parent(); p != 0 {
			children[p]++
			xor[p] ^= ref
		}
	})
	for _, ref := range runs {
		if v.err == nil {
			v.run(ref, children[ref], xor[ref])
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
			for i := range bucketSlots {
				if s := l[i].Load(); s != 0 {
					entries++
					if bucketOf(x.hashOf(s), n) != b {
						v.fail("slot %x in the wrong bucket", s)
					}
					each(s)
				}
			}
			if x.next(l) != nil {
				v.object(uint32(l[bucketSlots].Load()), kindBucket)
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

func (v *validator) run(ref uint32, children int, xor uint32) {
	t := v.t
	r := t.run(ref)
	n := r.blocks()
	v.runs++
	v.blocks += n
	if n == 0 || n > maxBlocksAt(r.depth()) {
		v.fail("run %d at depth %d has %d blocks", ref, r.depth(), n)
	}
	if r.numChildren() != children || children > 0 && r.onlyChild() != xor {
		v.fail("run %d: %d children, noted %d", ref, children, r.numChildren())
	}
	if n == 1 && r.head.Load() != r.last.Load() {
		v.fail("run %d of one block: head is not last", ref)
	}
	if r.hashListLines() > 0 {
		v.object(r.hashList(), kindHashList+kind(r.hashListLines()-1))
		w := t.words(r.hashList(), n)
		if n > r.hashListLines()*lineWords || w[0].Load() != r.head.Load() || w[n-1].Load() != r.last.Load() {
			v.fail("run %d: body does not fit", ref)
		}
	} else if n >= minHashList {
		v.fail("run %d of %d blocks has no body", ref, n)
	}
	if p := r.parent(); p == 0 && r.depth() != 0 || p != 0 && t.run(p).end() != r.depth() {
		v.fail("run %d at depth %d does not follow its parent %d", ref, r.depth(), p)
	}
	v.holders(ref, r)
	if r.numHolders() == 0 {
		v.fail("run %d has no holder", ref)
	}
	if children == 0 && t.coveredBlocks(r) != n && !(t.coveredBlocks(r) == 0 && t.onlyHollow(r)) {
		v.fail("leaf %d of %d blocks is held to %d", ref, n, t.coveredBlocks(r))
	}
}

func (v *validator) holders(ref uint32, r *run) {
	t := v.t
	switch c := r.class(); {
	case c == classTable:
		v.object(r.holderList(), kindListTable)
		for i := 0; i < r.numHolders(); i += listSize {
			v.object(uint32(t.words(r.holderList(), listSize)[i/listSize].Load()), kindHolderList+3)
		}
	case c != classInline:
		v.object(r.holderList(), kindHolderList+kind(c-1))
	}
	effective := 0
	slots := map[int]bool{}
	for i := range r.numHolders() {
		e := t.holderAt(r, i).Load()
		c := t.claim(holderClaim(e))
		if c.run.Load() != ref || int(c.slot.Load()) != holderSlot(e) || slots[holderSlot(e)] {
			v.fail("run %d: holder %d names another claim", ref, i)
			return
		}
		slots[holderSlot(e)] = true
		have := c.present.Load()
		if bits.Len64(have) != holderCovered(e) || holderCovered(e) > r.blocks() {
			v.fail("run %d of %d: holder %d covers %d, noted %d", ref, r.blocks(), i, bits.Len64(have), holderCovered(e))
		}
		want, pending := contiguous(have), false
		if p := r.parent(); p != 0 {
			j, pe := t.findHolder(t.run(p), holderSlot(e))
			if j < 0 {
				v.fail("run %d: upstream %d has no claim on the parent", ref, holderSlot(e))
				return
			}
			if holderEffective(pe) != t.run(p).blocks() {
				want = 0
			}
			pending = t.claim(holderClaim(pe)).state.Load() != idle
		}
		// On a path, what hangs on a claim of it may not count yet, or not any more;
		// and a claim of it that sinks may still count for what it was, if that is
		// no more than its parent allows.
		if got := holderEffective(e); c.state.Load() == lowering && got >= want && (want > 0 || got == 0 || v.allowed(r, holderSlot(e))) {
			want = got
		} else if got == 0 && pending {
			want = 0
		}
		if want != holderEffective(e) {
			v.fail("run %d: upstream %d effective %d, noted %d", ref, holderSlot(e), want, holderEffective(e))
		}
		if want > 0 {
			effective++
		}
	}
	if effective != r.numEffective() {
		v.fail("run %d: %d effective holders, noted %d", ref, effective, r.numEffective())
	}
}

// allowed tells whether an upstream can count in a run, because it is whole in the
// one before.
func (v *validator) allowed(r *run, slot int) bool { return v.t.holdsParent(r, slot) }

// onlyHollow tells whether only claims that go next are on a run.
func (t *Tree) onlyHollow(r *run) bool {
	for i := range r.numHolders() {
		if e := t.holderAt(r, i).Load(); t.ups[holderSlot(e)].emptyClaim != holderClaim(e) {
			return false
		}
	}
	return r.numHolders() > 0
}

// path checks the claims of u that are on the way from one state to another.
func (v *validator) path(u *upstream, states int) {
	t := v.t
	if v.atRest && u.hasPending() {
		v.fail("upstream %d is unsettled", u.slot)
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
			v.fail("claim %d is on the path at %d, which goes on at %d", ref, cursor, below)
		}
		if cursor != 0 && t.parentClaim(t.claim(cursor)) != ref {
			v.fail("claim %d has the cursor at %d, which does not hang on it", ref, cursor)
		}
		below = ref
	}
	if n != states {
		v.fail("upstream %d: path of %d claims, %d are not settled", u.slot, n, states)
	}
}

// upstreams checks the lists by age, the trees of claims, and the sums.
func (v *validator) upstreams() {
	t := v.t
	queued := map[int]bool{}
	for _, s := range t.heap {
		queued[int(s)] = true
	}
	mending := 0
	defer func() {
		if mending != t.pendingUpstreams {
			v.fail("%d upstreams are unsettled, noted %d", mending, t.pendingUpstreams)
		}
	}()
	for slot, u := range t.ups {
		if u == nil || v.err != nil {
			continue
		}
		place := map[uint32]int{}
		blocks, tokens := 0, int64(0)
		older, stamp := uint32(0), uint64(0)
		states := 0
		for ref := u.oldest; ref != 0 && v.err == nil; ref = t.claim(ref).younger.Load() {
			c := t.claim(ref)
			v.object(ref, kindClaim)
			v.claims++
			place[ref] = len(place)
			blocks += c.blocks()
			tokens += int64(c.blocks()) * int64(c.weight.Load())
			if c.older.Load() != older || c.stamp.Load() < stamp || int(c.slot.Load()) != slot {
				v.fail("upstream %d: list by age broken at claim %d", slot, ref)
			}
			v.told(ref, c)
			if c.state.Load() != idle {
				states++
			}
			if c.present.Load() == 0 && c.child.Load() == 0 && u.emptyClaim != ref {
				v.fail("upstream %d: claim %d is empty", slot, ref)
			}
			older, stamp = ref, c.stamp.Load()
		}
		if u.youngest != older || blocks != u.blocks || tokens != u.tokens {
			v.fail("upstream %d: %d blocks %d tokens, noted %d %d", slot, blocks, tokens, u.blocks, u.tokens)
		}
		if u.oldest != 0 && (!queued[slot] || !u.inHeap || u.heapKey > t.claim(u.oldest).stamp.Load()) {
			v.fail("upstream %d is not in the heap as it should", slot)
		}
		if v.err == nil {
			v.path(u, states)
			if u.hasPending() {
				mending++
			}
		}
		if u.inHeap && t.ups[t.heap[u.heapIndex]] != u {
			v.fail("upstream %d is not where it says in the heap", slot)
		}
		hung := v.hang(u, u.roots, 0, place)
		if v.err == nil && hung != len(place) {
			v.fail("upstream %d: %d claims in the tree, %d in the list", slot, hung, len(place))
		}
	}
}

// told checks the record of what events said of a claim.
func (v *validator) told(ref uint32, c *claim) {
	t := v.t
	n := int(c.recordLines.Load())
	if n == 0 {
		return
	}
	v.object(c.record.Load(), kindRecord+kind(n-1))
	if got := t.line(c.record.Load())[0].Load(); got != uint64(ref) {
		v.fail("record of claim %d names %d", ref, got)
	}
	some := false
	for pos := range recordCapacity(n) {
		if t.copies(c, pos) == 0 {
			continue
		}
		some = true
		v.tellings++
		key, _ := t.entry(c, pos)
		if r, p := t.findKey(t.ups[c.slot.Load()], key.Load()); r != ref || p != pos || c.present.Load()>>pos&1 == 0 {
			v.fail("block %d of claim %d is not found by its key", pos, ref)
		}
	}
	if !some {
		v.fail("claim %d has an empty record", ref)
	}
}

// hang counts the claims that hang below a claim, and checks that each is older
// than what it hangs on and on a child of its run.
func (v *validator) hang(u *upstream, first, parent uint32, place map[uint32]int) (n int) {
	t := v.t
	prev := uint32(0)
	for ref := first; ref != 0 && v.err == nil; ref = t.claim(ref).next.Load() {
		c := t.claim(ref)
		n += 1 + v.hang(u, c.child.Load(), ref, place)
		if c.prev.Load() != prev || t.parentClaim(c) != parent {
			v.fail("claim %d hangs on %d, listed below %d", ref, t.parentClaim(c), parent)
		}
		if parent != 0 && place[ref] >= place[parent] {
			v.fail("claim %d is younger than %d, on which it hangs", ref, parent)
		}
		prev = ref
	}
	return n
}
