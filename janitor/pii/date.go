// SPDX-License-Identifier: Apache-2.0

package pii

// dateFigures returns 3 when the groups from i on are day, month and year in
// any usual order, else 0.
func (c *chain) dateFigures(i int) int {
	if i+3 > c.n {
		return 0
	}
	gap := c.gap(i + 1)
	if gap == 0 || gap == '(' || gap == ')' || c.gap(i+2) != gap {
		return 0
	}
	a, b, y := c.g[i], c.g[i+1], c.g[i+2]
	if a.len() == 4 {
		a, y = y, a
	}
	if a.len() > 2 || b.len() > 2 || y.len() != 4 && y.len() != 2 {
		return 0
	}
	text := c.text
	day, month := num(text[a.start:a.end]), num(text[b.start:b.end])
	if !validDate(0, month, day) && !validDate(0, day, month) {
		return 0
	}
	if y.len() == 4 {
		if year := num(text[y.start:y.end]); year < 1880 || year > 2100 {
			return 0
		}
	}
	return 3
}

// monthDate returns the extent of a date with the name of a month around a
// day of one or two digits: "12 March 1980", "March 12th, 1980".
func monthDate(text []byte, g group) (start, end int) {
	if !isAlpha(byteAt(text, g.end)) && !isAlpha(byteAt(text, g.end+1)) && !isAlpha(byteAt(text, g.start-2)) && !isAlpha(byteAt(text, g.start-3)) {
		return 0, 0
	}
	i := g.end
	for i < len(text) && i-g.end < 3 && isAlpha(text[i]) && isLower(text[i]) { // 12th
		i++
	}
	if m := skipOf(text, i); m > i && monthAt(text, m) > 0 {
		if y := yearAt(text, skipOf(text, monthAt(text, m))); y > 0 {
			return g.start, y
		}
		return 0, 0
	}
	if month := monthBefore(text, g.start); month < g.start {
		if y := yearAt(text, skipAny(text, i, " ,")); y > 0 {
			return month, y
		}
	}
	return 0, 0
}

// monthBefore returns the start of the month's name before text[start], start
// when there is none.
func monthBefore(text []byte, start int) int {
	end := start
	for end > 0 && start-end < 2 && (text[end-1] == ' ' || text[end-1] == '.') {
		end--
	}
	word := end
	for word > 0 && end-word < 10 && isLetter(text[word-1]) {
		word--
	}
	if end == start || word == end || monthAt(text, word) != end {
		return start
	}
	return word
}

// skipOf passes over the punctuation between a day, a month and a year, and the
// word "of" in three languages.
func skipOf(text []byte, i int) int {
	i = skipAny(text, i, " .-,")
	if byteAt(text, i+2) == ' ' {
		switch string(text[i : i+2]) {
		case "of", "de", "di":
			return i + 3
		}
	}
	return i
}

// skipAny passes over at most four bytes of a set.
func skipAny(text []byte, i int, set string) int {
	for n := 0; n < 4 && i < len(text); n++ {
		in := false
		for k := range len(set) {
			in = in || set[k] == text[i]
		}
		if !in {
			break
		}
		i++
	}
	return i
}

// months are the beginnings of the names of months in English, German, Dutch,
// French, Spanish, Italian and Portuguese.
var months = set("jan feb mar apr may mai jun jul aug sep oct okt nov dec dez ene avr abr ago dic gen mag giu lug set ott out fev mrt mei")

// accented are the beginnings with letters beyond ASCII.
var accented = [...]string{"mär", "fév", "aoû", "déc"}

// monthAt returns the end of the name of a month, or its first three letters,
// at text[i], or 0.
func monthAt(text []byte, i int) int {
	end := i
	for end < len(text) && end-i < 12 && isLetter(text[end]) {
		end++
	}
	if end-i < 3 {
		return 0
	}
	if months[string([]byte{lower(text[i]), lower(text[i+1]), lower(text[i+2])})] {
		return end
	}
	for _, name := range accented {
		if end-i >= len(name) && lower(text[i]) == name[0] && string(text[i+1:i+len(name)]) == name[1:] {
			return end
		}
	}
	return 0
}

// yearAt returns the end of a year of four digits at text[i], or 0.
func yearAt(text []byte, i int) int {
	for k := range 4 {
		if !isDigit(byteAt(text, i+k)) {
			return 0
		}
	}
	if y := num(text[i : i+4]); y < 1880 || y > 2100 || isWord(byteAt(text, i+4)) {
		return 0
	}
	return i + 4
}

// validDate reports whether a day of a month exists. Year 0 is unknown and
// allows 29 February.
func validDate(year, month, day int) bool {
	if month < 1 || month > 12 || day < 1 || day > 31 {
		return false
	}
	switch month {
	case 4, 6, 9, 11:
		return day <= 30
	case 2:
		leap := year == 0 || year%4 == 0 && (year%100 != 0 || year%400 == 0)
		return day <= 28 || day == 29 && leap
	}
	return true
}

// isDate reports whether the groups are a date, two years or a bit pattern.
func (c *chain) isDate(i, k int) bool {
	if isBitPattern(c.text[c.g[i].start:c.g[i+k-1].end]) {
		return true
	}
	if _, ok := c.lens(i, 4, 2, 2); ok && k == 3 {
		return likeYear(c.text[c.g[i].start:])
	}
	if sep, ok := c.lens(i, 2, 2, 4); ok && k == 3 {
		return sep != ' '
	}
	if _, ok := c.lens(i, 4, 4); ok && k == 2 {
		return likeYear(c.text[c.g[i].start:]) && likeYear(c.text[c.g[i+1].start:])
	}
	if k == 1 && c.g[i].len() == 8 {
		d := c.text[c.g[i].start:c.g[i].end]
		return likeYear(d) && d[4] <= '1' && d[6] <= '3'
	}
	return false
}

// isBitPattern reports whether the digits are zeros and ones alone.
func isBitPattern(text []byte) bool {
	for _, c := range text {
		if c >= '2' && c <= '9' {
			return false
		}
	}
	return true
}

// likeYear reports whether digits begin like a year of this or the last
// century.
func likeYear(d []byte) bool { return d[0] == '1' && d[1] == '9' || d[0] == '2' && d[1] == '0' }

// isTimestamp reports whether digits are seconds or milliseconds since 1970,
// from 2017 on.
func isTimestamp(d []byte) bool {
	return (len(d) == 10 || len(d) == 13) && d[0] == '1' && d[1] >= '5'
}
