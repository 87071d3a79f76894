// SPDX-License-Identifier: Apache-2.0

package pii

// Text directly beside a finding has the finding for a neighbour, and a number
// beside a letter or digit is not taken. Once a placeholder stands there, it
// would be: "x@y.org4012888888881881" is an address and a tail,
// "[EMAIL_1]4012888888881881" holds a card. So the text beside such findings is
// scanned again as it will be.

// edgeMargin is the size of the text around a finding that is scanned again:
// the judged bytes of a value, and its name.
const edgeMargin = maxHead + 128

// maxRounds bounds how often new findings start another round; edgeBudget
// bounds the text read for it, in multiples of the text and beyond edgeFree
// bytes. Only hostile texts need as much. In those, a finding takes all that
// touches it.
const (
	maxRounds  = 4
	edgeBudget = 3
	edgeFree   = 4 << 10
)

// rescanEdges scans the text beside the settled findings spans[from:] again and
// returns them with the new ones. After the first round, only new or longer
// findings can lead to more.
func (s *Scanner) rescanEdges(text []byte, spans []Span, from int, work *int) []Span {
	budget := edgeFree + edgeBudget*len(text)
	var before []Span
	for range maxRounds {
		n := len(spans)
		left := budget
		spans = s.rescanRound(text, spans, from, before, &budget, work)
		*work += left - budget
		if len(spans) == n && budget >= 0 {
			return spans
		}
		if budget < 0 {
			spans = s.settle(text, spans, from)
			break // the findings that this round did not reach count as new
		}
		before = append(before[:0], spans[from:n]...)
		spans = s.settle(text, spans, from)
	}
	return s.takeTouching(text, spans, from, before)
}

// takeTouching widens the findings that are not among those of before over all
// text that touches them.
func (s *Scanner) takeTouching(text []byte, spans []Span, from int, before []Span) []Span {
	end := 0
	for k := from; k < len(spans); k++ {
		sp := &spans[k]
		if foundBefore(&before, *sp) {
			end = max(end, sp.End)
			continue
		}
		for sp.Start > end && text[sp.Start-1] > ' ' {
			sp.Start--
		}
		sp.End = max(sp.End, end)
		for sp.End < len(text) && text[sp.End] > ' ' {
			sp.End++
		}
		end = sp.End
	}
	return s.settle(text, spans, from)
}

// foundBefore reports whether a finding is among those of before, and drops the
// earlier ones of them: both lists are sorted.
func foundBefore(before *[]Span, sp Span) bool {
	b := *before
	for len(b) > 0 && b[0].Start < sp.Start {
		b = b[1:]
	}
	*before = b
	return len(b) > 0 && b[0] == sp
}

// rescanRound appends, unsettled, the findings beside those that touch other
// text and are not among those of before.
func (s *Scanner) rescanRound(text []byte, spans []Span, from int, before []Span, budget, work *int) []Span {
	var w *window
	n := len(spans)
	first := from // the first finding that can reach into the window
	for k := from; k < n; k++ {
		if foundBefore(&before, spans[k]) || !touchesText(text, spans[k]) {
			continue
		}
		if *budget < 0 {
			break
		}
		if w == nil {
			w = windows.Get().(*window)
		}
		// One window takes all such findings that are close together.
		start := max(0, spans[k].Start-edgeMargin)
		size := min(len(w.text), len(text)-start)
		room := size - edgeMargin
		if start+size == len(text) {
			room = size
		}
		last := k
		for j, rest := k+1, before; j < n && spans[j].Start-start < room && spans[j].Start-spans[last].End <= 2*edgeMargin; j++ {
			if !foundBefore(&rest, spans[j]) && touchesText(text, spans[j]) {
				last = j
			}
		}
		size = min(size, max(spans[last].End-start+edgeMargin, edgeMargin))
		size = wholeWords(text, start, size)
		copy(w.text[:size], text[start:])
		for first < k && spans[first].End <= start {
			first++
		}
		for j := first; j < n && spans[j].Start < start+size; j++ {
			mask(w.text[:size], spans[j].Start-start, spans[j].End-start)
		}
		*budget -= size
		inner := scan{Scanner: s, text: w.text[:size], out: w.out[:0], part: true, masked: true}
		inner.run()
		*work += inner.work
		for _, sp := range inner.out {
			if !insidePlaceholder(inner.text, sp) {
				spans = append(spans, Span{sp.Start + start, sp.End + start, sp.Entity})
			}
		}
		w.out = inner.out[:0]
		clear(w.text[:size])
		k = last
	}
	if w != nil {
		windows.Put(w)
	}
	return spans
}

// wholeWords shortens the window text[start:start+size] to a white space near
// its end: half a word can look like a value.
func wholeWords(text []byte, start, size int) int {
	if start+size == len(text) {
		return size
	}
	for n := size; n > size-edgeMargin/2 && n > 0; n-- {
		if text[start+n-1] <= ' ' {
			return n
		}
	}
	return size
}

// touchesText reports whether a finding may have hidden another one beside it:
// part of a word, a sign with more after it, or, beside its own digits, a
// number one space away.
func touchesText(text []byte, sp Span) bool {
	value := text[sp.Start:sp.End]
	return couldJoin(byteAt(text, sp.Start-1), byteAt(text, sp.Start-2), value[:min(len(value), 8)]) ||
		couldJoin(byteAt(text, sp.End), byteAt(text, sp.End+1), value[max(0, len(value)-8):])
}

// couldJoin judges the byte c beside a finding, and the one beyond; near is
// that end of the finding.
func couldJoin(c, beyond byte, near []byte) bool {
	switch {
	case isWord(c), c >= 0x80:
		return true
	case c == ' ':
		return isDigit(beyond) && holdsDigit(near)
	case c < ' ', c == ',', c == ';', c == '"':
		return false
	}
	return beyond > ' '
}

func holdsDigit(b []byte) bool {
	for _, c := range b {
		if isDigit(c) || c >= 0x80 {
			return true
		}
	}
	return false
}

// mask puts placeholders over both ends of text[start:end], cut to the text,
// and blanks the middle.
func mask(text []byte, start, end int) {
	size := end - start
	for i := max(start, 0); i < end && i < len(text); i++ {
		c := byte(' ')
		switch k := i - start; {
		case k == 0, size >= 6 && i == end-3:
			c = '['
		case k == 1, size >= 6 && i == end-2:
			c = 'A'
		case size < 6 && i < end-1:
			c = '_'
		case k == 2, i == end-1:
			c = ']'
		}
		text[i] = c
	}
}
