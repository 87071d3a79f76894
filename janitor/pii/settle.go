// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"
)

// add records a finding; settle sorts them and joins overlaps. In a window only
// findings in folded text count: the first pass has seen the others without the
// edges of the window.
func (r *scan) add(start, end int, e Entity) {
	if !r.foldedIn(start, end) {
		return
	}
	r.out = append(r.out, Span{start, end, e})
}

// settle turns the raw findings spans[from:] into the result: it drops allowed
// values and placeholders, sorts, widens to rune boundaries and joins overlaps.
//
// Findings that overlap become one span over both, so that no byte of either is
// left. The longer one gives the label; of equally long ones, the more specific
// entity. The order in which recognizers ran makes no difference.
func (s *Scanner) settle(text []byte, spans []Span, from int) []Span {
	raw := spans[from:]
	sortSpans(raw)
	out := spans[:from]
	longest := 0 // length of the finding that gave the last span its label
	for _, sp := range raw {
		sp = widen(text, sp)
		if s.allowed(text, sp) || insidePlaceholder(text, sp) {
			continue
		}
		last := len(out) - 1
		if last < from || sp.Start >= out[last].End {
			out = append(out, sp)
			longest = sp.End - sp.Start
			continue
		}
		n := sp.End - sp.Start
		if n > longest || n == longest && sp.Entity != out[last].Entity && rank(sp.Entity) < rank(out[last].Entity) {
			out[last].Entity = sp.Entity
			longest = n
		}
		out[last].End = max(out[last].End, sp.End)
	}
	return out
}

// sortSpans sorts findings that come in a few rows, one for each pass over the
// text, each nearly sorted: it sorts the rows by insertion and merges them.
// Other orders are left to the general algorithm.
func sortSpans(raw []Span) {
	const back, rows = 48, 8 // how far a finding may be out of place; rows merged
	var starts [rows + 1]int
	n := 1
	for i := 1; i < len(raw); i++ {
		if order(raw[i-1], raw[i]) <= 0 {
			continue
		}
		low := max(starts[n-1], i-back)
		if low > starts[n-1] && order(raw[low], raw[i]) > 0 { // far back: a new row
			if n == rows {
				slices.SortFunc(raw, order)
				return
			}
			starts[n] = i
			n++
			continue
		}
		sp, k := raw[i], i
		for ; k > starts[n-1] && order(raw[k-1], sp) > 0; k-- {
			raw[k] = raw[k-1]
		}
		raw[k] = sp
	}
	starts[n] = len(raw)
	for ; n > 1; n-- {
		mergeSpans(raw[starts[n-2]:starts[n]], starts[n-1]-starts[n-2])
		starts[n-1] = len(raw)
	}
}

// mergeSpans merges the rows raw[:mid] and raw[mid:].
func mergeSpans(raw []Span, mid int) {
	var few [32]Span
	rest := append(few[:0], raw[mid:]...)
	i, k := mid-1, len(rest)-1
	for at := len(raw) - 1; k >= 0; at-- {
		if i >= 0 && order(raw[i], rest[k]) > 0 {
			raw[at] = raw[i]
			i--
		} else {
			raw[at] = rest[k]
			k--
		}
	}
}

// order sorts findings by their starts, then the longer, then the more specific
// first. The strings are compared last: there can be many findings.
func order(a, b Span) int {
	switch {
	case a.Start != b.Start:
		return a.Start - b.Start
	case a.End != b.End:
		return b.End - a.End
	case a.Entity == b.Entity:
		return 0
	}
	return cmp.Or(rank(a.Entity)-rank(b.Entity), strings.Compare(string(a.Entity), string(b.Entity)))
}

// widen moves the ends of a span that would split a rune outwards.
func widen(text []byte, sp Span) Span {
	for i := 0; i < utf8.UTFMax && sp.Start > 0 && splitsRune(text, sp.Start); i++ {
		sp.Start--
	}
	for i := 0; i < utf8.UTFMax && sp.End < len(text) && splitsRune(text, sp.End); i++ {
		sp.End++
	}
	return sp
}

// splitsRune reports whether offset i lies inside a valid multi-byte rune.
func splitsRune(text []byte, i int) bool {
	if utf8.RuneStart(text[i]) {
		return false
	}
	for back := 1; back < utf8.UTFMax && i-back >= 0; back++ {
		if utf8.RuneStart(text[i-back]) {
			_, size := utf8.DecodeRune(text[i-back:])
			return size > back
		}
	}
	return false
}

// allowed reports whether the user listed this value.
func (s *Scanner) allowed(text []byte, sp Span) bool {
	if s.allow == nil {
		return false
	}
	value := text[sp.Start:sp.End]
	if _, ok := s.allow[string(value)]; ok {
		return true
	}
	if sp.Entity != EntityEmail {
		return false
	}
	_, ok := s.allowLow[string(bytes.ToLower(value))]
	return ok
}
