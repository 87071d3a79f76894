// SPDX-License-Identifier: Apache-2.0

package kvindex

import "fmt"

// validate recounts all counters of the log and the table.
func (l *linkLog) validate() error {
	live, segments := 0, len(l.spare)
	seen := map[*page]int{}
	for i, p := range l.table.pages {
		if i&(1<<p.depth-1) != i%(1<<p.depth) || p.depth > l.table.depth {
			return fmt.Errorf("page %d of depth %d in a directory of depth %d", i, p.depth, l.table.depth)
		}
		seen[p]++
	}
	for p, n := range seen {
		segments++
		if n != 1<<(l.table.depth-p.depth) {
			return fmt.Errorf("a page of depth %d is there %d times", p.depth, n)
		}
		count := 0
		for i := range p.slots {
			s := p.slots[i].Load()
			if s == 0 {
				continue
			}
			count++
			if key := l.record(uint32(s)).key(); tagOf(key) != s>>32 || l.find(key) != uint32(s) || l.table.page(s>>32) != p {
				return fmt.Errorf("slot %x is not found", s)
			}
		}
		if count != p.count {
			return fmt.Errorf("%d slots in a page, noted %d", count, p.count)
		}
		live += count
	}
	if live != l.records {
		return fmt.Errorf("%d records, noted %d", live, l.records)
	}
	found := 0
	for i, n := range l.order {
		segments++
		seg := l.segs[n]
		at := 1
		for at < int(seg[0].Load()) {
			m := recordMeta(seg[at+1].Load())
			if l.find(seg[at].Load()) == n*segmentWords+uint32(at) {
				if i == 0 && at < l.tail {
					return fmt.Errorf("a record counts that was passed")
				}
				found++
			}
			at += m.words()
		}
		if at != int(seg[0].Load()) || at > segmentWords {
			return fmt.Errorf("a segment ends at %d, noted %d", at, seg[0].Load())
		}
	}
	if found != live {
		return fmt.Errorf("%d records in the log, %d in the table", found, live)
	}
	used := 0
	for _, s := range l.segs {
		if s != nil {
			used++
		}
	}
	if used != len(l.order) || used+len(l.freeNumbers) != len(l.segs) {
		return fmt.Errorf("%d segments by number, %d in order, %d numbers free of %d", used, len(l.order), len(l.freeNumbers), len(l.segs))
	}
	return nil
}

// segments returns the number of segments of the log, the table and the chunks.
func (x *Index) segments() (n int) {
	seen := map[*page]bool{}
	for _, p := range x.log.table.pages {
		seen[p] = true
	}
	for _, s := range x.chunks.slabs {
		if s.words != nil {
			n++
		}
	}
	return n + len(seen) + len(x.log.order) + len(x.log.spare)
}

// validate recounts all counters of the index. Nothing else may be using it.
func (x *Index) validate() error {
	if got, want := x.memory.segments, int64(x.segments())*segmentCost; got != want {
		return fmt.Errorf("%d bytes taken, %d segments", got, x.segments())
	}
	if x.memory.segments > x.memory.limit {
		return fmt.Errorf("%d bytes over a limit of %d", x.memory.segments, x.memory.limit)
	}
	if err := x.log.validate(); err != nil {
		return err
	}
	return x.chunks.validate(x.feeds)
}

// validate counts the chunks of all feeds.
func (c *chunkPool) validate(feeds map[string]*Feed) error {
	used := make([]int, len(c.slabs))
	for _, f := range feeds {
		for t := range f.expiring {
			q, keys, at := &f.expiring[t], 0, int64(0)
			last := chunkRef(0)
			for ref := q.first; ref != 0; ref = c.at(ref).next() {
				used[int(ref-1)/chunksPerSlab]++
				chunk := c.at(ref)
				keys += chunk.count()
				if chunk.count() == 0 || chunk.count() > chunkKeys || chunk.time() < at {
					return fmt.Errorf("chunk %d has %d keys of time %d after %d", ref, chunk.count(), chunk.time(), at)
				}
				at, last = chunk.time(), ref
			}
			if keys != q.keys || last != q.last {
				return fmt.Errorf("%d keys waiting, noted %d", keys, q.keys)
			}
		}
	}
	for i, s := range c.slabs {
		free := 0
		for ref := s.free; ref != 0; ref = c.at(ref).next() {
			free++
		}
		if used[i] != s.used || s.words != nil && free+s.used != chunksPerSlab {
			return fmt.Errorf("slab %d: %d chunks used, noted %d; %d free", i, used[i], s.used, free)
		}
	}
	return nil
}
