// SPDX-License-Identifier: Apache-2.0

package radixcache

import (
	"math/bits"
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
	lineWords    = 8
	pageLines    = 64
	segPages     = 16
	segLines     = segPages * pageLines
	segWords     = segLines * lineWords
	segmentBytes = segWords * 8
	metaLines    = 4 // of the first page of a segment: its page table
)

// segment is exactly one size class of Go's allocator: nothing is lost to rounding.
type segment [segWords]atomic.Uint64

// kind is what a page is cut into.
type kind uint8

const (
	kindFree   kind = iota
	kindRun         // one run
	kindClaim       // one claim
	kindBucket      // overflow bucket of the index
	kindChunk       // bucketsPerChunk buckets of the index
	kindTable       // directory of the holder lists of a run with more than 64 holders
	kindHold        // holder lists of 8, 16, 32 and 64 entries
	kindBody   = kindHold + 4
	kindTold   = kindBody + 8 // what events said about the blocks of a claim
	kinds      = kindTold + 13
)

// lines is the size of an object of each kind.
var lines = func() (n [kinds]int) {
	n[kindRun], n[kindClaim], n[kindBucket], n[kindChunk], n[kindTable] = 1, 1, 1, bucketsPerChunk, 8
	for i := range 4 {
		n[kindHold+kind(i)] = 1 << i
	}
	for i := range 8 {
		n[kindBody+kind(i)] = i + 1
	}
	for k := kindTold; k < kinds; k++ {
		n[k] = int(k-kindTold) + 1
	}
	return n
}()

// perPage is how many objects of each kind every page can hold, the first of a
// segment included.
var perPage = func() (n [kinds]int) {
	for k := kindRun; k < kinds; k++ {
		n[k] = (pageLines - metaLines) / lines[k]
	}
	return n
}()

var perWhole = func() (n [kinds]int) {
	for k := kindRun; k < kinds; k++ {
		n[k] = pageLines / lines[k]
	}
	return n
}()

// page describes one page; the descriptions lie in the segment's first lines.
type page struct {
	state atomic.Uint64 // kind, live objects, first free line, how full, closed
	links atomic.Uint64 // next<<32 | previous page of the same kind and fullness
}

const noLine = 0xff

func (p *page) kind() kind { return kind(p.state.Load()) }
func (p *page) live() int  { return int(uint8(p.state.Load() >> 8)) }
func (p *page) free() int  { return int(uint8(p.state.Load() >> 16)) }
func (p *page) full() int  { return int(uint8(p.state.Load() >> 24)) }
func (p *page) closed() bool {
	return p.state.Load()>>32&1 != 0
}

func (p *page) set(k kind, live, free, full int, closed bool) {
	s := uint64(k) | uint64(live)<<8 | uint64(free)<<16 | uint64(full)<<24
	if closed {
		s |= 1 << 32
	}
	p.state.Store(s)
}

// Pages of a kind are listed by how full they are. Objects are put into the
// fullest, and the emptiest are the first to be cleared.
const (
	fullness = 4
	unlisted = fullness // value of page.full for pages in no list
)

// arena hands out objects. The caller holds Tree.mu, except for seg.
type arena struct {
	dir       atomic.Pointer[directory]
	segments  int    // allocated
	spare     uint32 // first free page + 1
	spares    int
	lists     [kinds][fullness]uint32 // first page + 1
	work      int                     // since Tree.mu was taken, see work.go; far from what lookups read
	vacant    [kinds]int              // free objects in listed pages
	used      [kinds]int              // objects in use
	maxSegs   int
	nextProbe int
}

// directory finds the segments. It is replaced, not changed, when it has to
// grow: 8 bytes for 64 KiB.
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

// seg returns the segment of a line and the index of the line's first word, or
// nil when a reader without lock holds a line number that means nothing any more.
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

func (a *arena) line(ref uint32) *[lineWords]atomic.Uint64 {
	s, i := a.dir.Load().seg(ref)
	return (*[lineWords]atomic.Uint64)(unsafe.Pointer(&s[i]))
}

func (a *arena) run(ref uint32) *run     { return (*run)(unsafe.Pointer(a.line(ref))) }
func (a *arena) claim(ref uint32) *claim { return (*claim)(unsafe.Pointer(a.line(ref))) }

// page returns the description of page p, numbered over all segments.
func (a *arena) page(p uint32) *page {
	s, _ := a.dir.Load().seg(p * pageLines)
	return (*page)(unsafe.Pointer(&s[p%segPages*2]))
}

func firstLine(p uint32) int {
	if p%segPages == 0 {
		return metaLines
	}
	return 0
}

// objects is how many objects of kind k page p can hold.
func objects(p uint32, k kind) int {
	if p%segPages == 0 {
		return perPage[k]
	}
	return perWhole[k]
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
	a.settle(pg, p, p.live()+1, int(a.line(ref)[0].Load()))
	a.vacant[k]--
	a.used[k]++
	return ref
}

// take is alloc where there is room, because it was reserved. To find none then
// is a fault of this package, and to go on would be to write over something else.
func (a *arena) take(k kind) uint32 {
	ref := a.alloc(k)
	if ref == 0 {
		panic("radixcache: memory was not reserved")
	}
	return ref
}

// free gives an object back. Its page, and then its segment, follow when they
// are empty.
func (a *arena) free(k kind, ref uint32) {
	pg := ref / pageLines
	p := a.page(pg)
	a.line(ref)[0].Store(uint64(p.free()))
	a.used[k]--
	if p.closed() {
		p.set(k, p.live()-1, int(ref%pageLines), unlisted, true)
		return
	}
	a.vacant[k]++
	if p.live() == 1 {
		a.unlist(p)
		a.vacant[k] -= objects(pg, k)
		a.shutPage(pg, p)
		return
	}
	a.settle(pg, p, p.live()-1, int(ref%pageLines))
}

// openPage makes a free page one of kind k and returns its number + 1, or 0.
func (a *arena) openPage(k kind) uint32 {
	if a.spare == 0 && !a.grow() {
		return 0
	}
	pg := a.spare - 1
	p := a.page(pg)
	a.unspare(p)
	n, l := objects(pg, k), firstLine(pg)
	a.work += n / 2
	for i := range n {
		next := uint64(l + (i+1)*lines[k])
		if i == n-1 {
			next = noLine
		}
		a.line(pg*pageLines + uint32(l+i*lines[k]))[0].Store(next)
	}
	p.set(k, 0, noLine, unlisted, false)
	a.settle(pg, p, 0, l)
	a.vacant[k] += n
	return pg + 1
}

// shutPage puts an empty page, which is in no list, among the free ones.
func (a *arena) shutPage(pg uint32, p *page) {
	a.toSpare(pg, p)
	if a.spares >= 2*segPages || a.segments > a.maxSegs {
		a.release(pg / segPages)
	}
}

// release gives a segment back to Go when all its pages are free.
func (a *arena) release(seg uint32) bool {
	for i := range uint32(segPages) {
		if p := a.page(seg*segPages + i); p.kind() != kindFree || p.closed() {
			return false
		}
	}
	for i := range uint32(segPages) {
		a.unspare(a.page(seg*segPages + i))
	}
	a.drop(seg)
	return true
}

func (a *arena) drop(seg uint32) {
	a.dir.Load().segs[seg].Store(nil)
	a.segments--
	a.nextProbe = min(a.nextProbe, int(seg))
}

// grow allocates another segment when the limit leaves room for it.
func (a *arena) grow() bool {
	d := a.dir.Load()
	if a.segments >= a.maxSegs || a.segments >= len(d.segs) {
		return false
	}
	i := a.nextProbe
	for d.segs[i].Load() != nil {
		i++
	}
	a.nextProbe = i + 1
	d.segs[i].Store(new(segment))
	a.segments++
	a.work += segPages
	for pg := uint32(i*segPages + segPages); pg > uint32(i*segPages); pg-- {
		a.toSpare(pg-1, a.page(pg-1))
	}
	return true
}

// toSpare puts a page among the free ones.
func (a *arena) toSpare(pg uint32, p *page) {
	p.set(kindFree, 0, noLine, unlisted, false)
	p.links.Store(uint64(a.spare) << 32)
	if a.spare != 0 {
		a.setPrev(a.spare-1, pg+1)
	}
	a.spare = pg + 1
	a.spares++
}

func (a *arena) setPrev(pg, prev uint32) {
	p := a.page(pg)
	p.links.Store(p.links.Load()&^0xffffffff | uint64(prev))
}

func (a *arena) setNext(pg, next uint32) {
	p := a.page(pg)
	p.links.Store(p.links.Load()&0xffffffff | uint64(next)<<32)
}

// unlink takes a page out of the list that starts at *head.
func (a *arena) unlink(p *page, head *uint32) {
	next, prev := uint32(p.links.Load()>>32), uint32(p.links.Load())
	if prev == 0 {
		*head = next
	} else {
		a.setNext(prev-1, next)
	}
	if next != 0 {
		a.setPrev(next-1, prev)
	}
}

func (a *arena) unspare(p *page) {
	a.unlink(p, &a.spare)
	a.spares--
}

// settle records what a page holds and moves it to the list where it belongs.
func (a *arena) settle(pg uint32, p *page, live, free int) {
	k, f := p.kind(), unlisted
	if free != noLine {
		f = live * fullness / objects(pg, k)
	}
	if f == p.full() {
		p.set(k, live, free, f, false)
		return
	}
	a.unlist(p)
	p.set(k, live, free, f, false)
	if f == unlisted {
		return
	}
	head := &a.lists[k][f]
	p.links.Store(uint64(*head) << 32)
	if *head != 0 {
		a.setPrev(*head-1, pg+1)
	}
	*head = pg + 1
}

// unlist takes a page out of the list it is in.
func (a *arena) unlist(p *page) {
	if f := p.full(); f != unlisted {
		a.unlink(p, &a.lists[p.kind()][f])
		p.set(p.kind(), p.live(), p.free(), unlisted, false)
	}
}

// close takes a page out of use for new objects, so that it can be cleared.
func (a *arena) close(pg uint32) {
	p := a.page(pg)
	k := p.kind()
	if k == kindFree {
		a.unspare(p)
	} else {
		a.unlist(p)
		a.vacant[k] -= objects(pg, k) - p.live()
	}
	p.set(k, p.live(), p.free(), unlisted, true)
}

// reopen undoes close.
func (a *arena) reopen(pg uint32) {
	p := a.page(pg)
	k := p.kind()
	if p.live() == 0 {
		a.shutPage(pg, p)
		return
	}
	p.set(k, p.live(), p.free(), unlisted, false)
	a.vacant[k] += objects(pg, k) - p.live()
	a.settle(pg, p, p.live(), p.free())
}

// inUse returns a bit for each line of a page at which an object starts.
func (a *arena) inUse(pg uint32) (set uint64) {
	p := a.page(pg)
	k := p.kind()
	if k == kindFree {
		return 0
	}
	for i := range objects(pg, k) {
		set |= 1 << (firstLine(pg) + i*lines[k])
	}
	for l := p.free(); l != noLine; l = int(a.line(pg*pageLines + uint32(l))[0].Load()) {
		set &^= 1 << l
	}
	return set
}

// pagesFor is how many pages must be opened for need, beyond what is vacant.
func (a *arena) pagesFor(need *[kinds]int) (n int) {
	for k, c := range need {
		if c > a.vacant[k] {
			n += (c - a.vacant[k] + perPage[k] - 1) / perPage[k]
		}
	}
	return n
}

// pagesLeft is how many pages can be opened now.
func (a *arena) pagesLeft() int {
	return a.spares + max(0, min(a.maxSegs, len(a.dir.Load().segs))-a.segments)*segPages
}

// bodyKind is the smallest kind that holds n hashes, n > 2.
func bodyKind(n int) kind { return kindBody + kind((n+lineWords-1)/lineWords-1) }

// holdKind is the smallest kind that holds n <= 64 holders.
func holdKind(n int) kind {
	return kindHold + kind(bits.Len(uint(max(n-1, 0)/lineWords)))
}
