// SPDX-License-Identifier: Apache-2.0

package radixcache

import (
	"math/bits"
	"sync/atomic"
	"unsafe"
)

// Only this file knows the positions of the fields in a word. Both the code that
// changes the tree and the lookups without a lock use its accessors.
//
// All objects are made of lines of eight words, 64 bytes. A reference is the
// number of an object's first line, 32 bits; 0 is none.
//
//	run        one line
//	  head       64 hash of the first block
//	  last       64 hash of the last block
//	  position   32 depth of the first block | 32 hash list
//	  counts      8 unused | 8 class | 16 effective holders | 16 holders | 8 lines of the hash list | 8 blocks
//	  links      32 holder list or list table | 32 parent run
//	  childSet   32 exclusive or of the child runs | 32 number of child runs
//	  inline     two holders, used while there are no more
//	holder     one word
//	             32 claim | 16 slot of the upstream | 8 effective blocks | 8 covered blocks
//	claim      one line: struct fields of 64 or 32 bits, see claim
//	bucket     one line
//	  slots      seven slots, 0 is a free one
//	  overflow   32 unused | 32 overflow bucket
//	run slot   32 upper bits of the hash of the first block | 32 run
//	key slot   26 upper bits of the hash of the key | 6 block of the run | 32 claim
//	record     1 to 13 lines with room for n blocks
//	             32 unused | 32 claim
//	             n words: the engine's key of each block
//	             (n+1)/2 words: copies of two blocks each, the first in the lower half
//	copies     32 bits: 8 unused | 8 on disk | 8 in CPU memory | 8 on the GPU
//	page       two words of the page table in the segment's first lines
//	  state      31 unused | 1 closed | 8 fullness | 8 first free line | 8 objects in use | 8 kind
//	  links      32 next | 32 previous page of the same list, as page + 1

// line is the unit of the arena.
type line = [lineWords]atomic.Uint64

const lineWords = 8

// lower and upper are the halves of a word.
func lower(w uint64) uint32           { return uint32(w) }
func upper(w uint64) uint32           { return uint32(w >> 32) }
func join(upper, lower uint32) uint64 { return uint64(upper)<<32 | uint64(lower) }

// run is a piece of the tree without a branch. Lookups read all but childSet and
// the parent under the version of head, see beginWrite.
type run struct {
	head     atomic.Uint64
	last     atomic.Uint64
	position atomic.Uint64
	counts   atomic.Uint64
	links    atomic.Uint64
	childSet atomic.Uint64
	inline   [maxInlineHolders]atomic.Uint64
}

func asRun(l *line) *run { return (*run)(unsafe.Pointer(l)) }

func (r *run) depth() int         { return int(upper(r.position.Load())) }
func (r *run) hashList() uint32   { return lower(r.position.Load()) }
func (r *run) holderList() uint32 { return upper(r.links.Load()) }
func (r *run) parent() uint32     { return lower(r.links.Load()) }
func (r *run) numChildren() int   { return int(lower(r.childSet.Load())) }
func (r *run) onlyChild() uint32  { return upper(r.childSet.Load()) }

func (r *run) setPosition(depth int, hashList uint32) {
	r.position.Store(join(uint32(depth), hashList))
}
func (r *run) setHolderList(ref uint32) { r.links.Store(join(ref, r.parent())) }
func (r *run) setParent(ref uint32)     { r.links.Store(join(r.holderList(), ref)) }

// addChild and removeChild keep the exclusive or of the children. It names the
// only child when one is left, and the two runs can become one again.
func (r *run) addChild(child uint32)    { r.childSet.Store((r.childSet.Load() ^ join(child, 0)) + 1) }
func (r *run) removeChild(child uint32) { r.childSet.Store((r.childSet.Load() ^ join(child, 0)) - 1) }
func (r *run) setOnlyChild(ref uint32)  { r.childSet.Store(join(ref, 1)) }

// runCounts is the word counts of a run. A lookup loads it once, so that all its
// fields are of one moment.
type runCounts uint64

const (
	listLinesShift = 8
	holdersShift   = 16
	effectiveShift = 32
	classShift     = 48
)

func (c runCounts) blocks() int        { return int(uint8(c)) }
func (c runCounts) hashListLines() int { return int(uint8(c >> listLinesShift)) }
func (c runCounts) holders() int       { return int(uint16(c >> holdersShift)) }
func (c runCounts) effective() int     { return int(uint16(c >> effectiveShift)) }
func (c runCounts) class() int         { return int(uint8(c >> classShift)) }

func (r *run) loadCounts() runCounts { return runCounts(r.counts.Load()) }
func (r *run) blocks() int           { return r.loadCounts().blocks() }
func (r *run) hashListLines() int    { return r.loadCounts().hashListLines() }
func (r *run) numHolders() int       { return r.loadCounts().holders() }
func (r *run) numEffective() int     { return r.loadCounts().effective() }
func (r *run) class() int            { return r.loadCounts().class() }
func (r *run) end() int              { return r.depth() + r.blocks() }

func (r *run) setCount(shift, width, v int) {
	mask := uint64(1)<<width - 1
	r.counts.Store(r.counts.Load()&^(mask<<shift) | uint64(v)<<shift)
}

func (r *run) setBlocks(n int)        { r.setCount(0, 8, n) }
func (r *run) setHashListLines(n int) { r.setCount(listLinesShift, 8, n) }
func (r *run) setNumHolders(n int)    { r.setCount(holdersShift, 16, n) }
func (r *run) setNumEffective(n int)  { r.setCount(effectiveShift, 16, n) }
func (r *run) setClass(c int)         { r.setCount(classShift, 8, c) }

// holder is the entry of one upstream in the holder list of a run.
type holder uint64

func newHolder(claim uint32, slot, effective, covered int) holder {
	return holder(join(claim, uint32(slot)<<16|uint32(effective)<<8|uint32(covered)))
}

func (h holder) claim() uint32  { return upper(uint64(h)) }
func (h holder) slot() int      { return int(uint16(h >> 16)) }
func (h holder) effective() int { return int(uint8(h >> 8)) } // blocks held without a hole since the root
func (h holder) covered() int   { return int(uint8(h)) }      // where the last block held ends
func (h holder) withEffective(n int) holder {
	return h&^0xff00 | holder(n)<<8
}

// claim records the blocks of one run that one upstream holds. It is read and
// written under Tree.mu only.
//
// The claims of an upstream form a tree of their own (child, next, prev): a
// claim on a run implies one on the run's parent, if need be an empty one. They
// also form a list by age. A claim is always older there than its parent claim,
// so the oldest claim is a leaf.
type claim struct {
	stamp       atomic.Uint64 // time when it was made or confirmed, see Tree.stamp
	present     atomic.Uint64 // a bit for each block of the run
	run         atomic.Uint32
	slot        atomic.Uint32 // of the upstream
	weight      atomic.Uint32 // tokens a block
	older       atomic.Uint32
	younger     atomic.Uint32
	child       atomic.Uint32 // first claim on a child of the run
	next        atomic.Uint32 // sibling
	prev        atomic.Uint32 // sibling, 0 for the first
	record      atomic.Uint32 // keys and copies of its blocks, as events reported them
	recordLines atomic.Uint32
	state       atomic.Uint32 // idle, lowering or raising, see propagate.go
	cursor      atomic.Uint32 // unless idle: the child claim that is next
}

// blocks returns the number of the run's blocks that the upstream holds, holes or
// not.
func (c *claim) blocks() int { return bits.OnesCount64(c.present.Load()) }

// contiguous returns the number of blocks at the start of a set, up to the first
// hole.
func contiguous(present uint64) int { return bits.TrailingZeros64(^present) }

// coverage returns the end of the last block of a set.
func coverage(present uint64) int { return bits.Len64(present) }

// bucket is a piece of a hash table.
type bucket struct {
	slots    [bucketSlots]atomic.Uint64
	overflow atomic.Uint64
}

const bucketSlots = lineWords - 1

func asBucket(l *line) *bucket { return (*bucket)(unsafe.Pointer(l)) }

func (b *bucket) next() uint32 { return lower(b.overflow.Load()) }

// tableState is the word state of a hash table: a version, which is odd while
// slots move, above the number of buckets.
type tableState uint64

func (s tableState) buckets() uint32 { return lower(uint64(s)) }
func (s tableState) moving() bool    { return upper(uint64(s))&1 != 0 }
func (s tableState) next(buckets uint32) tableState {
	return tableState(join(upper(uint64(s))+1, buckets))
}

func newRunSlot(h uint64, run uint32) uint64 { return join(upper(h), run) }

func slotRun(slot uint64) uint32 { return lower(slot) }

// runSlotMatches reports whether a slot may be that of a run whose first hash is
// h.
func runSlotMatches(slot, h uint64) bool { return (slot^h)>>32 == 0 && slot != 0 }

const (
	keySlotBlockShift = 32
	keySlotTagShift   = 38
)

func newKeySlot(h uint64, claim uint32, block int) uint64 {
	return h>>keySlotTagShift<<keySlotTagShift | uint64(block)<<keySlotBlockShift | uint64(claim)
}

func keySlotClaim(slot uint64) uint32 { return lower(slot) }
func keySlotBlock(slot uint64) int    { return int(slot >> keySlotBlockShift & (MaxRun - 1)) }

// keySlotMatches reports whether a slot may be that of a key whose hash is h.
func keySlotMatches(slot, h uint64) bool { return (slot^h)>>keySlotTagShift == 0 && slot != 0 }

// recordCapacity returns the number of blocks that fit into a record of n lines.
func recordCapacity(n int) int { return min(MaxRun, (n*lineWords-1)*2/3) }

// record is the words of a record.
type record []atomic.Uint64

func (w record) capacity() int              { return recordCapacity(len(w) / lineWords) }
func (w record) setClaim(ref uint32)        { w[0].Store(uint64(ref)) }
func (w record) claim() uint32              { return lower(w[0].Load()) }
func (w record) key(block int) uint64       { return w[1+block].Load() }
func (w record) setKey(block int, k uint64) { w[1+block].Store(k) }

// pair is the word with the copies of a block and of its neighbour.
func (w record) pair(block int) *atomic.Uint64 { return &w[1+w.capacity()+block/2] }

func (w record) copies(block int) copies {
	return copies(w.pair(block).Load() >> (block % 2 * 32))
}

func (w record) setCopies(block int, c copies) {
	p, shift := w.pair(block), block%2*32
	p.Store(p.Load()&^(0xffffffff<<shift) | uint64(c)<<shift)
}

// empty reports whether the record has no copy of any block.
func (w record) empty() bool {
	for i := 0; i < w.capacity(); i += 2 {
		if w.pair(i).Load() != 0 {
			return false
		}
	}
	return true
}

// copies counts the copies of one block in each tier, up to 255. Engines may
// store a block twice, and then remove it twice.
type copies uint32

const maxCopies = 255

func (c copies) in(tier Tier) int { return int(uint8(c >> (8 * tier))) }

func (c copies) add(tier Tier) copies {
	if c.in(tier) < maxCopies {
		c += 1 << (8 * tier)
	}
	return c
}

func (c copies) remove(tier Tier) copies {
	if c.in(tier) > 0 {
		c -= 1 << (8 * tier)
	}
	return c
}

// single returns c with one copy in a tier.
func (c copies) single(tier Tier) copies { return c&^(maxCopies<<(8*tier)) | 1<<(8*tier) }

// page describes one page.
type page struct {
	state atomic.Uint64
	links atomic.Uint64
}

const (
	pageInUseShift    = 8
	pageFreeShift     = 16
	pageFullnessShift = 24
	pageClosedShift   = 32
)

func (p *page) kind() kind    { return kind(p.state.Load()) }
func (p *page) live() int     { return int(uint8(p.state.Load() >> pageInUseShift)) }
func (p *page) free() int     { return int(uint8(p.state.Load() >> pageFreeShift)) } // first free line, or noLine
func (p *page) fullness() int { return int(uint8(p.state.Load() >> pageFullnessShift)) }
func (p *page) closed() bool  { return p.state.Load()>>pageClosedShift&1 != 0 }

func (p *page) set(k kind, live, free, fullness int, closed bool) {
	s := uint64(k) | uint64(live)<<pageInUseShift | uint64(free)<<pageFreeShift | uint64(fullness)<<pageFullnessShift
	if closed {
		s |= 1 << pageClosedShift
	}
	p.state.Store(s)
}

func (p *page) next() uint32               { return upper(p.links.Load()) }
func (p *page) prev() uint32               { return lower(p.links.Load()) }
func (p *page) setNext(page uint32)        { p.links.Store(join(page, p.prev())) }
func (p *page) setPrev(page uint32)        { p.links.Store(join(p.next(), page)) }
func (p *page) setLinks(next, prev uint32) { p.links.Store(join(next, prev)) }
