// SPDX-License-Identifier: Apache-2.0

package radixcache

import (
	"sync/atomic"
	"unsafe"
)

// Memory comes from Go in segments of 64 KiB without pointers, so the garbage
// collector has one word to look at for each. A segment is cut into pages of
// 4 KiB; a page holds objects of one kind; an object is 1 to 32 lines of 64
// bytes and is named by the number of its first line, a uint32.
//
// Every word of a segment is read and written atomically, because a lookup
// without a lock may still look at a line that was just given to another use.
// It notices afterwards (see lookup.go); until then it must not be a data race.
const (
	pageLines      = 64
	segPages       = 16
	segLines       = segPages * pageLines
	segWords       = segLines * lineWords
	segmentBytes   = segWords * 8
	pageTableLines = 4 // of the first page of a segment
)

// segment is exactly one size class of Go's allocator: nothing is lost to rounding.
type segment [segWords]atomic.Uint64

// kind says what objects a page is cut into.
type kind uint8

const (
	kindFree         kind = iota
	kindRun               // one run
	kindClaim             // one claim
	kindBucket            // overflow bucket of a hash table
	kindChunk             // bucketsPerChunk buckets of a hash table
	kindListTable         // finds the holder lists of a run with more than 64 holders
	kindHolderList        // holder lists of 8, 16, 32 and 64 entries
	kindHashList     = kindHolderList + 4
	kindRecord       = kindHashList + 8 // what events reported about the blocks of a claim
	kinds            = kindRecord + 13
	kindHolderList64 = kindHashList - 1
)

// kindLines is the size of an object of each kind.
var kindLines = func() (n [kinds]int) {
	n[kindRun], n[kindClaim], n[kindBucket], n[kindChunk], n[kindListTable] = 1, 1, 1, bucketsPerChunk, 8
	for i := range 4 {
		n[kindHolderList+kind(i)] = 1 << i
	}
	for i := range 8 {
		n[kindHashList+kind(i)] = i + 1
	}
	for k := kindRecord; k < kinds; k++ {
		n[k] = int(k-kindRecord) + 1
	}
	return n
}()

// perPage is the number of objects of each kind that fit on a page. perFirstPage is
// the same for the first page of a segment, and so the least of all pages.
var perPage, perFirstPage = func() (n, first [kinds]int) {
	for k := kindRun; k < kinds; k++ {
		n[k] = pageLines / kindLines[k]
		first[k] = (pageLines - pageTableLines) / kindLines[k]
	}
	return n, first
}()

// Pages of a kind are listed by how full they are. Objects are put into the
// fullest, and the emptiest are the first to be cleared.
const (
	fullness = 4
	unlisted = fullness // value of page.fullness for pages in no list
	noLine   = 0xff     // value of page.free for pages without a free line
)

// arena hands out objects. The caller holds Tree.mu, except for seg.
type arena struct {
	dir          atomic.Pointer[directory]
	segments     int    // allocated
	freePages    uint32 // first free page + 1
	numFreePages int
	lists        [kinds][fullness]uint32 // first page + 1
	work         int                     // since Tree.mu was taken, see lock.go; far from what lookups read
	freeObjects  [kinds]int              // in listed pages
	usedObjects  [kinds]int
	maxSegs      int
	lowestFree   int // no segment before it is missing
}

// addWork counts work, see lock.go.
func (a *arena) addWork(n int) { a.work += n }

// directory finds the segments. It is replaced, not changed, when it has to
// grow. It takes 8 bytes for 64 KiB.
type directory struct {
	segs []atomic.Pointer[segment]
}

func newDirectory(old *directory, segs int) *directory {
	d := &directory{make([]atomic.Pointer[segment], segs)}
	if old != nil {
		for i := range min(segs, len(old.segs)) {
			d.segs[i].Store(old.segs[i].Load())
		}
	}
	return d
}

func (d *directory) bytes() int64 {
	return int64(unsafe.Sizeof(*d)) + int64(len(d.segs))*8
}

// seg returns the segment of a line and the index of the line's first word. It
// returns nil when a reader without the lock has the number of a line that is gone.
func (d *directory) seg(ref uint32) (*segment, uint32) {
	if i := int(ref / segLines); i < len(d.segs) {
		return d.segs[i].Load(), ref % segLines * lineWords
	}
	return nil, 0
}

// words returns n words at a line that is in use.
func (a *arena) words(ref uint32, n int) []atomic.Uint64 {
	s, i := a.dir.Load().seg(ref)
	return s[i : i+uint32(n)]
}

func (a *arena) line(ref uint32) *line {
	s, i := a.dir.Load().seg(ref)
	return (*line)(unsafe.Pointer(&s[i]))
}

func (a *arena) run(ref uint32) *run       { return asRun(a.line(ref)) }
func (a *arena) bucket(ref uint32) *bucket { return asBucket(a.line(ref)) }
func (a *arena) claim(ref uint32) *claim   { return (*claim)(unsafe.Pointer(a.line(ref))) }

// page returns the description of page p, numbered over all segments.
func (a *arena) page(p uint32) *page {
	s, _ := a.dir.Load().seg(p * pageLines)
	return (*page)(unsafe.Pointer(&s[p%segPages*2]))
}

func firstLine(p uint32) int {
	if p%segPages == 0 {
		return pageTableLines
	}
	return 0
}

// objects returns the number of objects of kind k that page p can hold.
func objects(p uint32, k kind) int {
	if p%segPages == 0 {
		return perFirstPage[k]
	}
	return perPage[k]
}

// alloc returns an object of kind k, or 0 when there is neither a free one nor
// a free page nor room for another segment.
func (a *arena) alloc(k kind) uint32 {
	var pg uint32
	for f := fullness - 1; f >= 0 && pg == 0; f-- {
		pg = a.lists[k][f]
	}
	if pg == 0 {
		if pg = a.openPage(k); pg == 0 {
			return 0
		}
	}
	pg--
	p := a.page(pg)
	l := p.free()
	ref := pg*pageLines + uint32(l)
	a.updatePage(pg, p, p.live()+1, int(a.line(ref)[0].Load()))
	a.freeObjects[k]--
	a.usedObjects[k]++
	return ref
}

// mustAlloc is alloc for memory that was reserved. Without any it panics, because
// to go on would be to write over something else.
func (a *arena) mustAlloc(k kind) uint32 {
	ref := a.alloc(k)
	if ref == 0 {
		panic("radixcache: memory was not reserved")
	}
	return ref
}

// free frees an object. Its page, and then its segment, follow when they are empty.
func (a *arena) free(k kind, ref uint32) {
	pg := ref / pageLines
	p := a.page(pg)
	a.line(ref)[0].Store(uint64(p.free()))
	a.usedObjects[k]--
	if p.closed() {
		p.set(k, p.live()-1, int(ref%pageLines), unlisted, true)
		return
	}
	a.freeObjects[k]++
	if p.live() == 1 {
		a.unlist(p)
		a.freeObjects[k] -= objects(pg, k)
		a.freePage(pg, p)
		return
	}
	a.updatePage(pg, p, p.live()-1, int(ref%pageLines))
}

// openPage makes a free page one of kind k and returns its number + 1, or 0.
func (a *arena) openPage(k kind) uint32 {
	if a.freePages == 0 && !a.addSegment() {
		return 0
	}
	pg := a.freePages - 1
	p := a.page(pg)
	a.removeFreePage(p)
	n, l := objects(pg, k), firstLine(pg)
	a.addWork(n / 2)
	for i := range n {
		next := uint64(l + (i+1)*kindLines[k])
		if i == n-1 {
			next = noLine
		}
		a.line(pg*pageLines + uint32(l+i*kindLines[k]))[0].Store(next)
	}
	p.set(k, 0, noLine, unlisted, false)
	a.updatePage(pg, p, 0, l)
	a.freeObjects[k] += n
	return pg + 1
}

// freePage puts an empty page, which is in no list, among the free ones.
func (a *arena) freePage(pg uint32, p *page) {
	a.addFreePage(pg, p)
	if a.numFreePages >= 2*segPages || a.segments > a.maxSegs {
		a.releaseSegment(pg / segPages)
	}
}

// releaseSegment gives a segment back to Go when all its pages are free.
func (a *arena) releaseSegment(seg uint32) {
	for i := range uint32(segPages) {
		if p := a.page(seg*segPages + i); p.kind() != kindFree || p.closed() {
			return
		}
	}
	for i := range uint32(segPages) {
		a.removeFreePage(a.page(seg*segPages + i))
	}
	a.dropSegment(seg)
}

func (a *arena) dropSegment(seg uint32) {
	a.dir.Load().segs[seg].Store(nil)
	a.segments--
	a.lowestFree = min(a.lowestFree, int(seg))
}

// addSegment allocates another segment when the limit leaves room for it.
func (a *arena) addSegment() bool {
	d := a.dir.Load()
	if a.segments >= a.maxSegs || a.segments >= len(d.segs) {
		return false
	}
	i := a.lowestFree
	for d.segs[i].Load() != nil {
		i++
	}
	a.lowestFree = i + 1
	d.segs[i].Store(new(segment))
	a.segments++
	a.addWork(segPages)
	for pg := uint32(i*segPages + segPages); pg > uint32(i*segPages); pg-- {
		a.addFreePage(pg-1, a.page(pg-1))
	}
	return true
}

// addFreePage makes a page free.
func (a *arena) addFreePage(pg uint32, p *page) {
	p.set(kindFree, 0, noLine, unlisted, false)
	a.link(pg, p, &a.freePages)
	a.numFreePages++
}

// link puts a page at the front of the list that starts at *head.
func (a *arena) link(pg uint32, p *page, head *uint32) {
	p.setLinks(*head, 0)
	if *head != 0 {
		a.page(*head - 1).setPrev(pg + 1)
	}
	*head = pg + 1
}

// unlink takes a page out of the list that starts at *head.
func (a *arena) unlink(p *page, head *uint32) {
	next, prev := p.next(), p.prev()
	if prev == 0 {
		*head = next
	} else {
		a.page(prev - 1).setNext(next)
	}
	if next != 0 {
		a.page(next - 1).setPrev(prev)
	}
}

func (a *arena) removeFreePage(p *page) {
	a.unlink(p, &a.freePages)
	a.numFreePages--
}

// updatePage notes the objects of a page and moves it to the list where it belongs.
func (a *arena) updatePage(pg uint32, p *page, live, free int) {
	k, f := p.kind(), unlisted
	if free != noLine {
		f = live * fullness / objects(pg, k)
	}
	if f == p.fullness() {
		p.set(k, live, free, f, false)
		return
	}
	a.unlist(p)
	p.set(k, live, free, f, false)
	if f == unlisted {
		return
	}
	a.link(pg, p, &a.lists[k][f])
}

// unlist takes a page out of the list it is in.
func (a *arena) unlist(p *page) {
	if f := p.fullness(); f != unlisted {
		a.unlink(p, &a.lists[p.kind()][f])
		p.set(p.kind(), p.live(), p.free(), unlisted, false)
	}
}

// closePage keeps new objects off a page, so that it can be cleared.
func (a *arena) closePage(pg uint32) {
	p := a.page(pg)
	k := p.kind()
	if k == kindFree {
		a.removeFreePage(p)
	} else {
		a.unlist(p)
		a.freeObjects[k] -= objects(pg, k) - p.live()
	}
	p.set(k, p.live(), p.free(), unlisted, true)
}

// reopenPage undoes closePage.
func (a *arena) reopenPage(pg uint32) {
	p := a.page(pg)
	k := p.kind()
	if p.live() == 0 {
		a.freePage(pg, p)
		return
	}
	p.set(k, p.live(), p.free(), unlisted, false)
	a.freeObjects[k] += objects(pg, k) - p.live()
	a.updatePage(pg, p, p.live(), p.free())
}

// objectsInUse returns a bit for each line of a page at which an object starts.
func (a *arena) objectsInUse(pg uint32) (set uint64) {
	p := a.page(pg)
	k := p.kind()
	if k == kindFree {
		return 0
	}
	for i := range objects(pg, k) {
		set |= 1 << (firstLine(pg) + i*kindLines[k])
	}
	for l := p.free(); l != noLine; l = int(a.line(pg*pageLines + uint32(l))[0].Load()) {
		set &^= 1 << l
	}
	return set
}

// pagesFor returns the number of pages to open for need, beyond the free objects.
func (a *arena) pagesFor(need *[kinds]int) (n int) {
	for k, c := range need {
		if c > a.freeObjects[k] {
			n += (c - a.freeObjects[k] + perFirstPage[k] - 1) / perFirstPage[k]
		}
	}
	return n
}

// pagesLeft returns the number of pages that can be opened now.
func (a *arena) pagesLeft() int {
	return a.numFreePages + max(0, min(a.maxSegs, len(a.dir.Load().segs))-a.segments)*segPages
}

// hashListKind is the smallest kind that holds n hashes, n > 2.
func hashListKind(n int) kind { return kindHashList + kind((n+lineWords-1)/lineWords-1) }
