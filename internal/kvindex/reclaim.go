// SPDX-License-Identifier: Apache-2.0

package kvindex

const (
	// minSpares is the number of spare segments taken before a step.
	minSpares = 2
	// stepRewrites bounds the referenced records that are rewritten in a step, and
	// reclaimScan those that are passed for each record that is entered.
	stepRewrites = 4 * stepRecords
	reclaimScan  = 64
	// reclaimSlack is the lead of emptying the oldest segment over filling the newest,
	// in words.
	reclaimSlack = 64
)

// prepare takes the memory that the next step may need, as far as there is any. The
// caller holds write but not mu.
func (l *linkLog) prepare() {
	l.refused = false
	for len(l.spare) < minSpares && !l.refused {
		if l.refused = !l.memory.take(segmentCost); !l.refused {
			l.spare = append(l.spare, new(segment))
		}
	}
}

// takeSpare returns a spare segment, or nil.
func (l *linkLog) takeSpare() *segment {
	n := len(l.spare)
	if n == 0 {
		return nil
	}
	s := l.spare[n-1]
	l.spare = l.spare[:n-1]
	return s
}

// reclaim empties the oldest segment as far as the newest is filled, once no memory
// is left to take: so the one is free when the other is full. Referenced records are
// rewritten while rewrites last; reclaim returns false when there are more of them.
func (l *linkLog) reclaim(rewrites *int) (done bool) {
	for range reclaimScan {
		if !l.refused || len(l.spare) > 0 || len(l.order) < 2 || l.tail >= int(l.head()%segmentWords)+reclaimSlack {
			return true
		}
		if *rewrites == 0 {
			return false
		}
		*rewrites -= l.passOldest(true)
	}
	return true
}

// passOldest passes the oldest record. A valid one is dropped, or rewritten if it
// may be and was referenced; then passOldest returns 1.
func (l *linkLog) passOldest(may bool) (again int) {
	number := l.order[0]
	seg := l.segs[number]
	if l.tail >= int(seg[0].Load()) {
		l.retire()
		return 0
	}
	ref := number*segmentWords + uint32(l.tail)
	r := record(seg[l.tail:])
	m := r.meta()
	l.tail += m.words()
	key := r.key()
	if l.find(key) != ref {
		return 0
	}
	head := l.head()
	if may && m&metaReferenced != 0 && int(head%segmentWords)+m.words() <= segmentWords {
		to := l.record(head)
		for i := range m.words() {
			to[i].Store(r[i].Load())
		}
		to.setMeta(m &^ metaReferenced)
		l.commit(head, m)
		return 1
	}
	tag := tagOf(key)
	l.table.page(tag).remove(tag<<32 | uint64(ref))
	l.records--
	return 0
}

// retire makes the oldest segment a spare one, once no record in it is valid.
func (l *linkLog) retire() {
	number := l.order[0]
	s := l.segs[number]
	l.segs[number] = nil
	l.freeNumbers = append(l.freeNumbers, number)
	l.order = append(l.order[:0], l.order[1:]...)
	l.tail = 1
	l.spare = append(l.spare, s)
}

// dropOldest empties the oldest segment at once.
func (l *linkLog) dropOldest() {
	for n := len(l.order); n > 0 && len(l.order) == n; {
		l.passOldest(false)
	}
}

// releaseOne gives a segment back for another use, as long as there are links
// beside it.
func (l *linkLog) releaseOne() bool {
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
	return l.releaseSpare()
}

func (l *linkLog) releaseSpare() bool {
	if l.takeSpare() == nil {
		return false
	}
	l.memory.release(segmentCost)
	return true
}

// shrinkToLimit gives memory back until the rest is within the limit, the oldest
// links first.
func (l *linkLog) shrinkToLimit() {
	l.write.Lock()
	defer l.write.Unlock()
	for l.memory.over() > 0 {
		if l.releaseSpare() {
			continue
		}
		l.mu.Lock()
		some := l.freeSegment()
		l.mu.Unlock()
		if !some {
			return
		}
	}
}

// freeSegment makes a segment that is in use a spare one.
func (l *linkLog) freeSegment() bool {
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
