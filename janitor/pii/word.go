// SPDX-License-Identifier: Apache-2.0

package pii

import "strings"

// Bounds of a word with letters and digits.
const (
	minCode = 8
	maxCode = 18
)

// writing is one way of writing a number with letters: a word of capitals and
// digits.
type writing struct {
	pattern string // A letter, 9 digit, X either; one for each character
	sure    bool   // needs no word beside it when written in capitals
	of      *builtin
}

// writingsByLength holds the patterns of all recognizers by their length. A row
// lists its patterns with spaces between; "!" marks a sure one.
var writingsByLength = func() (table [maxCode + 1][]writing) {
	for _, b := range recognizers {
		for _, p := range strings.Fields(b.patterns) {
			pattern, sure := strings.CutPrefix(p, "!")
			table[len(pattern)] = append(table[len(pattern)], writing{pattern, sure, b})
		}
	}
	return table
}()

// word looks at a word of letters and digits that begins at text[start].
func (r *scan) word(start int) {
	if start < r.wordDone {
		return
	}
	end := start
	for end < len(r.text) && isAlnum(r.text[end]) {
		end++
		if end-start > maxCode {
			break
		}
	}
	r.wordDone = end
	n := end - start
	if n > maxCode || n < minCode || joinedBefore(r.text, start) || joinedAfter(r.text, end) {
		return
	}
	var number idNumber
	number.size = n
	upper := true
	for i, c := range r.text[start:end] {
		if isLower(c) {
			upper = false
			c &^= 0x20
		}
		number.text[i] = c
	}
	for _, w := range writingsByLength[n] {
		if !r.finds(w.of) || !matchesPattern(number.bytes(), w.pattern) || !w.of.valid(number) {
			continue
		}
		if w.sure && upper || r.aloneInText(start, end) || (r.topicsBefore(start)|r.topicsAfter(end))&w.of.words != 0 {
			r.add(start, end, w.of.entity)
			return
		}
	}
}

// aloneInText reports whether only white space and quotes stand beside
// text[start:end], in a short text.
func (r *scan) aloneInText(start, end int) bool {
	if len(r.text) > 64 || r.part {
		return false
	}
	for i, c := range r.text {
		if (i < start || i >= end) && (c > ' ' && c != '"' && c != '\'' && c != '.') {
			return false
		}
	}
	return true
}

// matchesPattern reports whether a word in upper case has letters and digits in
// the places of a pattern.
func matchesPattern(w []byte, pattern string) bool {
	for i, c := range w {
		switch pattern[i] {
		case 'A':
			if isDigit(c) {
				return false
			}
		case '9':
			if !isDigit(c) {
				return false
			}
		}
	}
	return true
}
