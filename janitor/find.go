// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"cmp"
	"slices"
	"sort"
	"sync"
	"unicode/utf8"
	"unsafe"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
	"github.com/bauxite/caddy-kvaware/internal/sensitive"
	"github.com/bauxite/caddy-kvaware/janitor/pii"
)

// maxFindings bounds the findings of one request. No person writes more by hand;
// such a request is an attack on memory.
const maxFindings = 10_000

// joinWindow is the number of bytes on either side of a seam between two parts of
// a message that are scanned together. Only keys and tokens are longer, and
// clients do not split those.
const joinWindow = 256

// finding is a span, or the part of a span that lies in one text.
type finding struct {
	start, end int // raw range in the body
	text       int32
	piece      int32 // the index of the inner text, when text is nested
	at, atEnd  int   // decoded range in the piece
	value      span  // in finder.values
	entity     pii.Entity
	continued  bool // continues the previous finding in the next part
	displaced  bool // lies in a larger finding
}

type span struct{ start, end int }

// finder scans the texts of a document and keeps the findings in the document's
// order. It is pooled; wipe zeroes the values found.
type finder struct {
	cursor prompt.Cursor
	part   prompt.Decoded
	spans  []pii.Span
	found  []finding
	values []byte
	joined []byte
	seams  []int // where each part begins in joined

	seamEnd int // where the last finding across a seam ends in joined
}

var finders = sync.Pool{New: func() any { return new(finder) }}

// maxPooled is the size in bytes above which scratch memory is not pooled.
const maxPooled = 1 << 20

func (f *finder) release() {
	small := f.footprint() < maxPooled
	f.wipe()
	if small {
		finders.Put(f)
	}
}

// footprint returns the size of the finder in bytes.
func (f *finder) footprint() int64 {
	const found, spans = int(unsafe.Sizeof(finding{})), int(unsafe.Sizeof(pii.Span{}))
	return int64(f.cursor.MemorySize() + f.part.MemorySize() + cap(f.values) + cap(f.joined) +
		found*cap(f.found) + spans*cap(f.spans) + 8*cap(f.seams))
}

// wipe zeroes all that came from a body.
func (f *finder) wipe() {
	f.cursor.Wipe()
	f.part.Wipe()
	sensitive.Wipe(f.values)
	sensitive.Wipe(f.joined)
	f.values, f.joined = f.values[:0], f.joined[:0]
	f.spans, f.found, f.seams = f.spans[:0], f.found[:0], f.seams[:0]
}

// run finds the values in the texts of d. It reports false when there are more
// than maxFindings.
func (f *finder) run(s *pii.Scanner, d *prompt.Document) bool {
	for i := 0; i < len(d.Texts); {
		last := i + 1
		for last < len(d.Texts) && d.Texts[last].Join && !d.Texts[last].Nested && !d.Texts[last-1].Nested {
			last++
		}
		ok := true
		if last == i+1 {
			ok = f.scanText(s, d, i)
		} else {
			ok = f.scanParts(s, d, i, last)
		}
		if !ok {
			return false
		}
		i = last
	}
	return true
}

// scanText scans text i, and the inner texts when it is nested.
func (f *finder) scanText(s *pii.Scanner, d *prompt.Document, i int) bool {
	piece := int32(0)
	for t := f.cursor.Open(d.Body, d.Texts[i]); t != nil; t = f.cursor.Next() {
		f.spans = s.Scan(t.Bytes, f.spans[:0])
		for _, sp := range f.spans {
			if len(f.found) == maxFindings {
				return false
			}
			f.add(t, sp, int32(i), piece)
		}
		piece++
	}
	return true
}

func (f *finder) add(t *prompt.Decoded, sp pii.Span, text, piece int32) {
	start, end := t.Span(sp.Start, sp.End)
	f.found = append(f.found, finding{
		start: start, end: end, text: text, piece: piece, at: sp.Start, atEnd: sp.End,
		value: f.copyValue(t.Bytes[sp.Start:sp.End]), entity: sp.Entity,
	})
}

// copyValue copies a value into f.values.
func (f *finder) copyValue(value []byte) span {
	f.values = sensitive.Append("findings", f.values, value...)
	return span{len(f.values) - len(value), len(f.values)}
}

// scanParts scans the parts of one message, each by itself and then across the
// seams, because engines join the parts. A span across a seam counts if it fully
// covers the findings within the parts that it touches. So a card number is found
// whole although a piece of it looks like a telephone number, and an address at
// the end of a part is not lost to the word after it.
func (f *finder) scanParts(s *pii.Scanner, d *prompt.Document, first, last int) bool {
	from := len(f.found)
	f.joined, f.seams = f.joined[:0], f.seams[:0]
	for i := first; i < last; i++ {
		if !f.scanText(s, d, i) {
			return false
		}
		d.Texts[i].Decode(d.Body, &f.part)
		f.seams = append(f.seams, len(f.joined))
		f.joined = sensitive.Append("joined parts", f.joined, f.part.Bytes...)
	}
	alone := len(f.found)
	f.seamEnd = 0
	if !f.scanSeams(s, d, messageParts{first, from, alone}) {
		return false
	}
	if len(f.found) > alone {
		kept := slices.DeleteFunc(f.found[from:], func(c finding) bool { return c.displaced })
		f.found = f.found[:from+len(kept)]
		slices.SortStableFunc(kept, func(a, b finding) int {
			return cmp.Or(cmp.Compare(a.text, b.text), cmp.Compare(a.at, b.at))
		})
	}
	return true
}

// messageParts is the message being scanned: its first text, and the range of
// the findings within its parts.
type messageParts struct{ first, from, to int }

// scanSeams adds the findings across the seams of f.joined. It scans the
// surroundings of close seams as one range, so nothing is scanned twice, however
// small the parts are.
func (f *finder) scanSeams(s *pii.Scanner, d *prompt.Document, m messageParts) bool {
	for i := 1; i < len(f.seams); {
		lo, hi := max(0, f.seams[i]-joinWindow), f.seams[i]+joinWindow
		next := i + 1
		for next < len(f.seams) && f.seams[next]-joinWindow <= hi {
			hi = f.seams[next] + joinWindow
			next++
		}
		if !f.scanAround(s, d, m, f.seams[i:next], lo, min(hi, len(f.joined))) {
			return false
		}
		i = next
	}
	return true
}

// scanAround adds the findings in f.joined[lo:hi] that lie across the seams at.
// It leaves out spans that touch an end of the range: they may continue outside.
func (f *finder) scanAround(s *pii.Scanner, d *prompt.Document, m messageParts, at []int, lo, hi int) bool {
	for lo < at[0] && !utf8.RuneStart(f.joined[lo]) {
		lo++
	}
	f.spans = s.Scan(f.joined[lo:hi], f.spans[:0])
	for _, sp := range f.spans {
		start, end := sp.Start+lo, sp.End+lo
		for len(at) > 0 && at[0] <= start {
			at = at[1:]
		}
		cut := sp.Start == 0 && lo > 0 || end == hi && hi < len(f.joined)
		if len(at) == 0 || at[0] >= end || cut || !f.displace(m, start, end) {
			continue
		}
		if len(f.found) >= maxFindings {
			return false
		}
		f.addAcross(d, m.first, start, end, sp.Entity)
	}
	return true
}

// displace removes the findings that a range of f.joined covers. It reports
// false, and removes none, when the range cuts into a finding or into the
// previous span across a seam.
func (f *finder) displace(m messageParts, start, end int) bool {
	if start < f.seamEnd {
		return false
	}
	alone := f.found[m.from:m.to]
	at := func(c *finding) int { return f.seams[int(c.text)-m.first] }
	i := sort.Search(len(alone), func(i int) bool { return at(&alone[i])+alone[i].atEnd > start })
	j := i
	for ; j < len(alone) && at(&alone[j])+alone[j].at < end; j++ {
		if c := &alone[j]; at(c)+c.at < start || at(c)+c.atEnd > end {
			return false
		}
	}
	for k := range alone[i:j] {
		alone[i+k].displaced = true
	}
	f.seamEnd = end
	return true
}

// addAcross adds a range of f.joined as a finding in each part that it touches.
// The first is replaced by a placeholder, the others are removed.
func (f *finder) addAcross(d *prompt.Document, first, start, end int, e pii.Entity) {
	value := f.copyValue(f.joined[start:end])
	more := false
	part := sort.SearchInts(f.seams, start+1) - 1 // the part where it begins, not an empty one before it
	for ; part < len(f.seams) && f.seams[part] < end; part++ {
		seam, next := f.seams[part], len(f.joined)
		if part+1 < len(f.seams) {
			next = f.seams[part+1]
		}
		lo, hi := max(start, seam)-seam, min(end, next)-seam
		if lo >= hi {
			continue
		}
		d.Texts[first+part].Decode(d.Body, &f.part)
		rawStart, rawEnd := f.part.Span(lo, hi)
		f.found = append(f.found, finding{
			start: rawStart, end: rawEnd, text: int32(first + part), at: lo, atEnd: hi,
			value: value, entity: e, continued: more,
		})
		more = true
	}
}
