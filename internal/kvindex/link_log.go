// SPDX-License-Identifier: Apache-2.0

package kvindex

import "sync"

// A record holds, for one text block at the end of a chain of them, the number of
// tokens up to its end, and the blocks of tokens that end in it:
//
//	word 0  key
//	word 1  tokens, index of the first block, number of blocks, flags (see recordMeta)
//	word 2  hash of the block before the first
//	word 3  hashes of the blocks
//
// The blocks are those of the prompt that was linked first. There can be more of
// them than the tokens say: where prompts with this text diverge before its end,
// only their common tokens count, and each goes on in the record of its next text
// block. So a record continues a chain only if the hash in word 2 is at that place;
// blocks of the chain after it belong to another prompt.
//
// Records lie in a log of segments, in the order in which they were written. Word 0
// of a segment is the number of its used words. The oldest segment is emptied as the
// newest is filled.
const (
	headWords = 3
	// maxBlocks bounds the blocks of tokens that end in one text block.
	maxBlocks = 4000
	// maxTokens bounds the tokens up to the end of a text block.
	maxTokens = 1<<24 - 1

	// stepRecords and stepWords bound what is written under the lock at a time.
	stepRecords = 64
	stepWords   = segmentWords / 4
)

// recordMeta is word 1 of a record.
type recordMeta uint64

const (
	metaReferenced = recordMeta(1)      // matched or linked since it was written
	metaExact      = recordMeta(1) << 1 // the number of tokens is exact
	metaCount      = 2
	metaFirst      = 15
	metaTokens     = 39
	countMask      = 1<<13 - 1
	tokensMask     = 1<<24 - 1
	metaKept       = ^(recordMeta(tokensMask)<<metaTokens | metaExact)
)

func newRecordMeta(tokens, first, count int, exact bool) recordMeta {
	m := recordMeta(tokens)<<metaTokens | recordMeta(first)<<metaFirst | recordMeta(count)<<metaCount
	if exact {
		m |= metaExact
	}
	return m
}

func (m recordMeta) tokens() int { return int(m >> metaTokens & tokensMask) }
func (m recordMeta) first() int  { return int(m >> metaFirst & tokensMask) }
func (m recordMeta) count() int  { return int(m >> metaCount & countMask) }
func (m recordMeta) exact() bool { return m&metaExact != 0 }
func (m recordMeta) words() int  { return headWords + m.count() }

// anchored returns the meta of the same record with another number of tokens.
func (m recordMeta) anchored(tokens int, exact bool) recordMeta {
	return m&metaKept | newRecordMeta(tokens, 0, 0, exact)
}

// record is the words of a record, and of those after it in its segment.
type record []uint64Word

func (r record) key() uint64          { return r[0].Load() }
func (r record) meta() recordMeta     { return recordMeta(r[1].Load()) }
func (r record) setMeta(m recordMeta) { r[1].Store(uint64(m)) }
func (r record) before() uint64       { return r[2].Load() }
func (r record) block(i int) uint64   { return r[headWords+i].Load() }

// last returns the hash of the last block, or of the one before the first.
func (r record) last() uint64 { return r[r.meta().words()-1].Load() }

// linkLog is the log of records and the table that finds them.
//
// Lock contract: every change holds write, taken before mu, and mu for a bounded
// number of steps. Readers hold mu for reading; all they change is metaReferenced,
// and they use table and segs only.
type linkLog struct {
	memory      *memory
	write       sync.Mutex
	mu          sync.RWMutex
	table       table
	segs        []*segment // by number, the upper part of a ref
	freeNumbers []uint32   // numbers not in use
	order       []uint32   // numbers in use, the oldest segment first
	tail        int        // in the oldest segment: records before are gone
	spare       []*segment // taken from memory, not used
	refused     bool       // there was no memory for more of these
	records     int        // number of records
}

// record returns the record at ref.
func (l *linkLog) record(ref uint32) record {
	return l.segs[ref/segmentWords][ref%segmentWords:]
}

// find returns the ref of a key's record, 0 when there is none.
func (l *linkLog) find(key uint64) uint32 {
	tag := tagOf(key)
	p := l.table.page(tag)
	if p == nil {
		return 0
	}
	for i := tag & pageMask; ; i = (i + 1) & pageMask {
		s := p.slots[i].Load()
		if s == 0 {
			return 0
		}
		if s>>32 == tag && l.record(uint32(s)).key() == key {
			return uint32(s)
		}
	}
}

// count returns the number of records.
func (l *linkLog) count() int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.records
}

// enter writes a record in place of an older one of its key. It returns false when
// there is no room even after dropping old records. The caller holds mu.
func (l *linkLog) enter(key uint64, m recordMeta, before uint64, blocks []uint64) bool {
	if !l.roomInTable(tagOf(key)) || !l.roomInLog(m.words()) {
		return false
	}
	ref := l.head()
	r := l.record(ref)
	r[0].Store(key)
	r.setMeta(m)
	r[2].Store(before)
	for i, h := range blocks {
		r[headWords+i].Store(h)
	}
	l.commit(ref, m)
	return true
}

// head returns the ref of the next record.
func (l *linkLog) head() uint32 {
	n := l.order[len(l.order)-1]
	return n*segmentWords + uint32(l.segs[n][0].Load())
}

// commit makes the record written at the head valid, in place of an older one of
// its key. The table has room for it.
func (l *linkLog) commit(ref uint32, m recordMeta) {
	seg := l.segs[ref/segmentWords]
	seg[0].Store(uint64(ref%segmentWords) + uint64(m.words()))
	key := seg[ref%segmentWords].Load()
	tag := tagOf(key)
	if old := l.find(key); old != 0 {
		l.table.page(tag).replace(tag<<32|uint64(old), tag<<32|uint64(ref))
		return
	}
	l.table.page(tag).put(tag<<32 | uint64(ref))
	l.records++
}

// roomInTable makes room for a slot.
func (l *linkLog) roomInTable(tag uint64) bool {
	if len(l.table.pages) == 0 {
		s := l.takeSpare()
		if s != nil {
			s.clear()
			l.table = table{pages: []*page{{slots: s}}}
		}
		return s != nil
	}
	p := l.table.page(tag)
	for p.count >= pageFull && p.depth < maxDepth {
		if len(l.spare) < minSpares && !l.refused {
			break // the log may need the last one; the next step brings memory
		}
		s := l.takeSpare()
		if s == nil && len(l.order) > 2 {
			l.dropOldest()
			s = l.takeSpare()
		}
		if s == nil {
			break
		}
		s.clear()
		l.table.divide(p, s)
		p = l.table.page(tag)
	}
	return p.count < pageMax
}

// roomInLog makes room for n words at the head.
func (l *linkLog) roomInLog(n int) bool {
	if len(l.order) > 0 && int(l.head()%segmentWords)+n <= segmentWords && l.head()%segmentWords != 0 {
		return true
	}
	s := l.takeSpare()
	if s == nil && len(l.order) > 1 {
		l.dropOldest()
		s = l.takeSpare()
	}
	if s == nil {
		return false
	}
	number := uint32(len(l.segs))
	if k := len(l.freeNumbers); k > 0 {
		number = l.freeNumbers[k-1]
		l.freeNumbers = l.freeNumbers[:k-1]
		l.segs[number] = s
	} else {
		l.segs = append(l.segs, s)
	}
	s[0].Store(1)
	if len(l.order) == 0 {
		l.tail = 1
	}
	l.order = append(l.order, number)
	return true
}
