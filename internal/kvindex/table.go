// SPDX-License-Identifier: Apache-2.0

package kvindex

// table finds records by key. It is an extendible hash table (Fagin and others,
// "Extendible hashing", TODS 4, 1979): a directory of pages of one segment each,
// with open addressing inside. It grows by dividing one page, so no more than 8,192
// slots are ever moved at once. A slot is
//
//	32 bits of the key<<32 | ref
//
// The lowest 13 of these bits are the slot's place in its page, those above select
// the page. Ref 0 is none, so a used slot is not 0.
type table struct {
	pages []*page // 1<<depth of them; a page may be there several times
	depth uint
}

type page struct {
	slots *segment
	count int
	depth uint // how many bits of the directory all its slots share
}

const (
	pageBits  = 13
	pageMask  = 1<<pageBits - 1
	pageFull  = segmentWords * 3 / 4
	pageMax   = segmentWords * 15 / 16 // never more than that
	pageMerge = segmentWords * 3 / 8   // two that have less together become one
	maxDepth  = 32 - pageBits
)

func tagOf(key uint64) uint64 { return key >> 32 }

// page returns the page of a tag, nil while there is none.
func (t *table) page(tag uint64) *page {
	if len(t.pages) == 0 {
		return nil
	}
	return t.pages[tag>>pageBits&(uint64(len(t.pages))-1)]
}

// put enters a slot into a page that has room.
func (p *page) put(slot uint64) {
	i := slot >> 32 & pageMask
	for p.slots[i].Load() != 0 {
		i = (i + 1) & pageMask
	}
	p.slots[i].Store(slot)
	p.count++
}

// replace puts a slot in the place of another with the same tag.
func (p *page) replace(old, slot uint64) {
	for i := old >> 32 & pageMask; ; i = (i + 1) & pageMask {
		switch p.slots[i].Load() {
		case old:
			p.slots[i].Store(slot)
			return
		case 0:
			return
		}
	}
}

// remove removes a slot and moves those after it up, so that no search ends early.
func (p *page) remove(slot uint64) bool {
	i := slot >> 32 & pageMask
	for p.slots[i].Load() != slot {
		if p.slots[i].Load() == 0 {
			return false
		}
		i = (i + 1) & pageMask
	}
	for j := (i + 1) & pageMask; ; j = (j + 1) & pageMask {
		s := p.slots[j].Load()
		if s == 0 {
			break
		}
		if home := s >> 32 & pageMask; (j-home)&pageMask >= (j-i)&pageMask {
			p.slots[i].Store(s)
			i = j
		}
	}
	p.slots[i].Store(0)
	p.count--
	return true
}

// divide moves half of a page into a new one.
func (t *table) divide(p *page, slots *segment) {
	if p.depth == t.depth {
		t.pages = append(append(make([]*page, 0, 2*len(t.pages)), t.pages...), t.pages...)
		t.depth++
	}
	q := &page{slots: slots, depth: p.depth + 1}
	bit := uint64(1) << p.depth
	p.depth++
	for i := range t.pages {
		if t.pages[i] == p && uint64(i)&bit != 0 {
			t.pages[i] = q
		}
	}
	// Start after an empty slot, so that no slot is put after its old place.
	start := uint64(0)
	for p.slots[start].Load() != 0 {
		start++
	}
	p.count = 0
	for k := uint64(1); k <= segmentWords; k++ {
		i := (start + k) & pageMask
		s := p.slots[i].Load()
		if s == 0 {
			continue
		}
		p.slots[i].Store(0)
		if s>>32>>pageBits&bit != 0 {
			q.put(s)
		} else {
			p.put(s)
		}
	}
}

// merge makes one page of two that have little between them, and returns the freed
// segment, or nil.
func (t *table) merge() *segment {
	for i, p := range t.pages {
		if p.depth == 0 {
			return nil
		}
		q := t.pages[i^1<<(p.depth-1)]
		if p == q || p.depth != q.depth || p.count+q.count > pageMerge {
			continue
		}
		for k := range q.slots {
			if s := q.slots[k].Load(); s != 0 {
				p.put(s)
			}
		}
		p.depth--
		for k := range t.pages {
			if t.pages[k] == q {
				t.pages[k] = p
			}
		}
		t.halve()
		return q.slots
	}
	return nil
}

// halve makes the directory as small as its pages allow.
func (t *table) halve() {
	for t.depth > 0 {
		for _, p := range t.pages {
			if p.depth == t.depth {
				return
			}
		}
		t.depth--
		t.pages = append([]*page(nil), t.pages[:1<<t.depth]...)
	}
}
