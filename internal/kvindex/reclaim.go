// SPDX-License-Identifier: Apache-2.0

package kvindex

const (
	// spares is how many segments are taken before a step.
	spares = 2
	// stepChances is how many records that were followed are written again in a
	// step, and looks how many are looked at for each record that is entered.
	stepChances = 4 * stepRecords
	looks       = 64
	// slack is how far ahead of the newest segment the oldest is emptied, in words.
	slack = 64
)

// prepare takes the memory that the next step may need, as far as there is any.
// The caller holds write but not mu.
func (l *links) prepare() {
	l.refused = false
	for len(l.spare) < spares && !l.refused {
		if l.refused = !l.memory.take(segmentCost); !l.refused {
			l.spare = append(l.spare, new(segment))
		}
	}
}

// takeSpare returns an empty segment, or nil.
func (l *links) takeSpare() *segment {
	n := len(l.spare)
	if n == 0 {
		return nil
	}
	s := l.spare[n-1]
	l.spare = l.spare[:n-1]
	return s
}

// reclaim empties the oldest segment as far as the newest is filled, so that it is
// free when the other one is full, when no memory is left to be taken. Records that
// were followed are written again, as often as chances says; when there are more of
// them, reclaim returns false.
func (l *links) reclaim(chances *int) (done bool) {
	for range looks {
		if !l.refused || len(l.spare) > 0 || len(l.order) < 2 || l.tail >= int(l.head()%segmentWords)+slack {
			return true
		}
		if *chances == 0 {
			return false
		}
		*chances -= l.pass(true)
	}
	return true
}

// pass goes past the oldest record. One that counts goes, or is written again when
// that may be and it was followed; then pass returns 1.
func (l *links) pass(may bool) (again int) {
	number := l.order[0]
	seg := l.segs[number]
	if l.tail >= int(seg[0].Load()) {
		l.retire()
		return 0
	}
	ref := number*segmentWords + uint32(l.tail)
	w := seg[l.tail:]
	m := meta(w[1].Load())
	l.tail += m.words()
	key := w[0].Load()
	if l.find(key) != ref {
		return 0
	}
	head := l.head()
	if may && m&metaRecent != 0 && int(head%segmentWords)+m.words() <= segmentWords {
		to := l.words(head)
		for i := range m.words() {
			to[i].Store(w[i].Load())
		}
		to[1].Store(uint64(m &^ metaRecent))
		l.appended(head, m)
		return 1
	}
	tag := tagOf(key)
	l.table.page(tag).cut(tag<<32 | uint64(ref))
	l.live--
	return 0
}

// retire makes the oldest segment, of which nothing counts any more, a spare one.
func (l *links) retire() {
	number := l.order[0]
	s := l.segs[number]
	l.segs[number] = nil
	l.numbers = append(l.numbers, number)
	l.order = append(l.order[:0], l.order[1:]...)
	l.tail = 1
	l.spare = append(l.spare, s)
}

// dropOldest empties the oldest segment at once.
func (l *links) dropOldest() {
	for n := len(l.order); n > 0 && len(l.order) == n; {
		l.pass(false)
	}
}

// giveOne gives a segment back for somebody else's use, as long as there are links
// beside it.
func (l *links) giveOne() bool {
	l.write.Lock()
	defer l.write.Unlock()
	if len(l.spare) == 0 {
		if len(l.order) < 3 {
			return false
		}
		l.mu.Lock()
		l.dropOldest()
		l.mu.Unlock()
	}
	return l.giveSpare()
}

func (l *links) giveSpare() bool {
	if l.takeSpare() == nil {
		return false
	}
	l.memory.give(segmentCost)
	return true
}

// fit gives memory back until what is left is within the limit, the oldest links
// first.
func (l *links) fit() {
	l.write.Lock()
	defer l.write.Unlock()
	for l.memory.over() > 0 {
		if l.giveSpare() {
			continue
		}
		l.mu.Lock()
		some := l.yield()
		l.mu.Unlock()
		if !some {
			return
		}
	}
}

// yield makes a segment that is in use a spare one.
func (l *links) yield() bool {
	if s := l.table.merge(); s != nil {
		l.spare = append(l.spare, s)
		return true
	}
	if len(l.order) > 0 {
		l.dropOldest()
		return true
	}
	if len(l.table.pages) > 0 {
		l.spare = append(l.spare, l.table.pages[0].slots)
		l.table = table{}
		return true
	}
	return false
}
