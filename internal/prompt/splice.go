// SPDX-License-Identifier: Apache-2.0

package prompt

// Edit replaces the raw bytes [Start, End) by New.
type Edit struct {
	Start, End int
	New        []byte
}

// Splice returns body with the edits made: in dst's memory when that is large
// enough, otherwise in one allocation of the exact size. Without edits it returns
// body itself. It panics when the edits are out of order or overlap, which is the
// caller's mistake and never the body's. dst must not overlap body.
func Splice(body []byte, edits []Edit, dst []byte) []byte {
	if len(edits) == 0 {
		return body
	}
	size, last := len(body), 0
	for _, e := range edits {
		if e.Start < last || e.End < e.Start || e.End > len(body) {
			panic("prompt: edits out of order or out of range")
		}
		size += len(e.New) - (e.End - e.Start)
		last = e.End
	}
	if cap(dst) < size {
		dst = make([]byte, 0, size)
	}
	dst, last = dst[:0], 0
	for _, e := range edits {
		dst = append(append(dst, body[last:e.Start]...), e.New...)
		last = e.End
	}
	return append(dst, body[last:]...)
}

// Splice makes the edits by the function Splice and returns the new Body. Each
// edit is inside one string, at InsertAt, or the range of a Taken. Segments,
// InsertAt and the Members move along; Texts are dropped. Without edits nothing changes, and the body is
// the same slice.
func (d *Document) Splice(edits []Edit, dst []byte) []byte {
	if len(edits) == 0 {
		return d.Body
	}
	d.Body = Splice(d.Body, edits, dst)
	d.Texts = d.Texts[:0]
	d.deltas = d.deltas[:0]
	delta := 0
	for _, e := range edits {
		delta += len(e.New) - (e.End - e.Start)
		d.deltas = append(d.deltas, delta)
	}
	for i := range d.Segments {
		s := &d.Segments[i]
		s.Start, s.End = d.shift(edits, s.Start, s.End)
	}
	for _, m := range [...]*Member{&d.StreamOptions, &d.IncludeUsage, &d.CacheSalt} {
		if m.Present() {
			m.Start, m.End = d.shift(edits, m.Start, m.End)
		}
	}
	for i := range d.variants {
		if m := &d.variants[i]; m.Present() {
			m.Start, m.End = d.shift(edits, m.Start, m.End)
		}
	}
	if d.InsertAt > 0 && edits[0].Start == d.InsertAt && edits[0].End == d.InsertAt && len(edits[0].New) > 0 {
		d.Empty = false
	}
	return d.Body
}

// shift returns the range [start, end) after the edits. Edits that end at or
// before start are in front of the range; those that begin before end are in
// front of it or inside.
func (d *Document) shift(edits []Edit, start, end int) (int, int) {
	before := search(edits, func(e *Edit) bool { return e.End > start })
	upto := search(edits, func(e *Edit) bool { return e.Start >= end })
	return start + d.deltaOf(before), end + d.deltaOf(max(before, upto))
}

// deltaOf returns the bytes by which the first n edits move the text behind them.
func (d *Document) deltaOf(n int) int {
	if n == 0 {
		return 0
	}
	return d.deltas[n-1]
}

// search returns the index of the first edit for which past holds.
func search(edits []Edit, past func(*Edit) bool) int {
	lo, hi := 0, len(edits)
	for lo < hi {
		if mid := (lo + hi) / 2; past(&edits[mid]) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}
