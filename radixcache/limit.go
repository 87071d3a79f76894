// SPDX-License-Identifier: Apache-2.0

package radixcache

// MaxLimit is the highest ceiling. A higher limit is lowered to it.
const MaxLimit = 64 << 30

// Limit returns the ceiling in bytes.
func (t *Tree) Limit() int64 {
	t.lock()
	defer t.unlock()
	return t.limit
}

// SetLimit changes the ceiling. When it is lower, the oldest claims go until the
// rest fits, the rest is moved together, and the memory is given back to Go
// before SetLimit returns. Other calls get in between its steps.
func (t *Tree) SetLimit(limit int64) {
	t.limitMu.Lock()
	defer t.limitMu.Unlock()
	t.lock()
	defer t.unlock()
	t.setLimit(limit)
	t.fitSegments()
	t.shrinkLists()
}

func (t *Tree) setLimit(limit int64) {
	t.limit = min(max(limit, 0), MaxLimit)
	t.setRoom()
}

// fitSegments gives segments back until the rest fits. It lets others in.
func (t *Tree) fitSegments() {
	for t.evicting != nil || t.segments > t.maxSegs {
		t.startOperation() // what others add meanwhile may have to go as well
		if !t.shrinkStep() {
			break
		}
		if t.overBudget() {
			t.yield()
		}
	}
}

// setRoom works out how many segments fit beside everything else.
func (t *Tree) setRoom() {
	t.maxSegs = max(0, int((t.limit-t.promised-t.fixedBytes())/segmentBytes))
}

// fixedBytes is what the tree has allocated beside its segments.
func (t *Tree) fixedBytes() int64 {
	return t.charged + t.dir.Load().bytes() + t.index.chunkBytes() + t.byKey.chunkBytes()
}

// charge accounts for n more bytes beside the segments, or returns false when
// the limit has no room for them. It lets others in while it makes room.
func (t *Tree) charge(n int64) bool {
	if n > 0 && t.fixedBytes()+t.promised+n > t.limit {
		return false
	}
	t.promised += n
	t.setRoom()
	t.fitSegments()
	t.promised -= n
	t.charged += n
	t.setRoom()
	return true
}

// refund undoes a charge.
func (t *Tree) refund(n int64) {
	t.charged -= n
	t.setRoom()
}

// minSegs is the size of the smallest directory.
const minSegs = 16

// growLists doubles the directory and the lists of chunks when they are three
// quarters full. They are small: 8 bytes for a segment, 4 for some 150 entries.
func (t *Tree) growLists() {
	if n := len(t.dir.Load().segs); t.segments*4 >= n*3 && t.roomFor(int64(n)*8) {
		t.dir.Store(newDirectory(t.dir.Load(), 2*n))
	}
	for _, x := range []*hashTable{&t.index, &t.byKey} {
		n := len(*x.chunks.Load())
		if int(x.buckets())*4 >= n*3*bucketsPerChunk && t.roomFor(int64(n)*4) {
			x.sizeChunks(2 * n)
		}
	}
	t.setRoom()
}

// roomFor tells whether n more bytes beside the segments fit under the limit.
func (t *Tree) roomFor(n int64) bool {
	return t.fixedBytes()+t.promised+n+int64(t.segments)*segmentBytes <= t.limit
}

// shrinkLists halves the lists while three quarters of them are unused.
func (t *Tree) shrinkLists() {
	d := t.dir.Load()
	n := len(d.segs)
	for n > minSegs && lastUsed(n, func(i int) bool { return d.segs[i].Load() != nil }) < n/4 {
		n /= 2
	}
	if n < len(d.segs) {
		t.dir.Store(newDirectory(d, n))
	}
	for _, x := range []*hashTable{&t.index, &t.byKey} {
		n := len(*x.chunks.Load())
		for n > minChunks && int(x.buckets())/bucketsPerChunk+1 < n/4 {
			n /= 2
		}
		if n < len(*x.chunks.Load()) {
			x.sizeChunks(n)
		}
	}
	t.setRoom()
}

// lastUsed is the highest index below n in use, -1 for none.
func lastUsed(n int, used func(int) bool) int {
	for n--; n >= 0 && !used(n); n-- {
	}
	return n
}
