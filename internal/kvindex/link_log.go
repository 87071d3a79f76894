// SPDX-License-Identifier: Apache-2.0

package kvindex

import "sync"

// A record says of one text block, at the end of a chain of them, how many tokens
// there are up to its end, and which blocks of tokens end in it:
//
//	word 0  key
//	word 1  tokens, index of the first block, how many blocks, marks (see meta)
//	word 2  own hash of the block before the first
//	word 3  own hashes
//
// The blocks are those of the prompt that was linked first. There can be more of
// them than the tokens say: where prompts with this text part before its end, only
// what they have in common counts, and each says in the record of its next text
// block where it goes on. So a record follows on what was found before it when the
// block before its first is there with the hash in word 2; what is behind that
// block is another prompt's.
//
// Records lie in a log of segments, in the order in which they were written. Word 0
// of a segment is how many of its words are used. The oldest segment is emptied as
// the newest is filled.
const (
	headWords = 3
	// maxBlocks is how many blocks of tokens may end in one text block.
	maxBlocks = 4000
	// maxTokens is how many tokens there may be up to the end of a text block.
	maxTokens = 1<<24 - 1

	// stepRecords and stepWords are what is written under the lock at a time.
	stepRecords = 64
	stepWords   = segmentWords / 4
)

// meta is word 1 of a record.
type recordMeta uint64

const (
	metaReferenced = recordMeta(1)      // followed or linked since it was written
	metaExact      = recordMeta(1) << 1 // tokens is exact
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

// anchored is the same record with another number of tokens.
func (m recordMeta) anchored(tokens int, exact bool) recordMeta {
	return m&metaKept | newRecordMeta(tokens, 0, 0, exact)
}

// links is the log of records and the table that finds them.
//
// Lock contract: write is held by what changes anything, and taken before mu,
// which such a one holds for a bounded number of steps. Readers hold mu for
// reading; all they change is metaRecent, and they use table and segs only.
type linkLog struct {
	memory      *memory
	write       sync.Mutex
	mu          sync.RWMutex
	table       table
	segs        []*segment // by number, which is the upper part of a ref
	freeNumbers []uint32   // that are not in use
	order       []uint32   // numbers, the oldest segment first
	tail        int        // of the oldest segment: records before are gone
	spare       []*segment // taken, not used
	refused     bool       // there was no memory for more of these
	records     int        // records
}

// words returns the record at ref.
func (l *linkLog) words(ref uint32) []uint64Word {
	return l.segs[ref/segmentWords][ref%segmentWords:]
}

// find returns the record of a key, 0 when there is none.
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
		if s>>32 == tag && l.words(uint32(s))[0].Load() == key {
			return uint32(s)
		}
	}
}

// count returns how many records there are.
func (l *linkLog) count() int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.records
}

// enter writes a record, in the place of an older one of the same key. It returns
// false when there is no room even when old records go. The caller holds mu.
func (l *linkLog) enter(key uint64, m recordMeta, before uint64, blocks []uint64) bool {
	if !l.roomInTable(tagOf(key)) || !l.roomInLog(m.words()) {
		return false
	}
	ref := l.head()
	w := l.words(ref)
	w[0].Store(key)
	w[1].Store(uint64(m))
	w[2].Store(before)
	for i, h := range blocks {
		w[headWords+i].Store(h)
	}
	l.commit(ref, m)
	return true
}

// head is where the next record goes.
func (l *linkLog) head() uint32 {
	n := l.order[len(l.order)-1]
	return n*segmentWords + uint32(l.segs[n][0].Load())
}

// appended makes the record that was written at the head count, instead of an
// older one of its key. The table has room for it.
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
