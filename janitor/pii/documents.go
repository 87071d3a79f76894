// SPDX-License-Identifier: Apache-2.0

package pii

// document looks at a word with digits at text[start:] as the number of a
// passport or a driver's licence. Their formats say next to nothing, so a word
// in front must: "passport", or "driver" together with "licence".
func (r *scan) document(start int) {
	if !r.on[recPassport] && !r.on[recLicense] {
		return
	}
	switch at(r.text, start-1) {
	case ' ', ':', '#', '"', '\'', '>', 0:
	default:
		if r.text[start-1] < 0x80 && escapeBefore(r.text, start) == 0 {
			return
		}
	}
	end, digits := start, 0
	for end < len(r.text) && (isAlnum(r.text[end]) || r.text[end] == '-' && isDigit(at(r.text, end+1))) {
		if isDigit(r.text[end]) {
			digits++
		}
		end++
		if end-start > 20 {
			return
		}
	}
	n := end - start
	if isWord(at(r.text, end)) || joinedBefore(r.text, start) {
		return
	}
	if n < 6 || digits < 4 || years(r.text[start:end]) {
		return
	}
	topics := r.before(start)
	switch {
	case topics&ctxPassport != 0 && r.on[recPassport] && passportShape(r.text[start:end]):
		r.add(start, end, EntityPassport)
	case topics&ctxLicense != 0 && (topics&ctxDriver != 0 || topics&ctxLicenseOnly != 0) && r.on[recLicense]:
		r.add(start, end, EntityLicense)
	}
}

// years tells a range of years and a date from a number: "2011-2020" stands
// beside "licence" and "driver" in every copyright file.
func years(w []byte) bool {
	if len(w) < 8 || !year(w) || w[4] != '-' {
		return false
	}
	return len(w) == 9 && year(w[5:]) || len(w) == 10 && w[7] == '-'
}

// passportShape takes six to ten characters: at most three letters in front and
// one behind, the rest digits; or nine capitals and digits mixed, as in Germany.
func passportShape(w []byte) bool {
	if len(w) < 6 || len(w) > 10 {
		return false
	}
	if len(w) == 9 && isUpper(w[0]) && mixedCode(w) {
		return true
	}
	for i, c := range w {
		if !isDigit(c) && (!isAlpha(c) || i > 2 && i < len(w)-1) {
			return false
		}
	}
	return isDigit(w[3])
}

// mixedCode tells capitals and at least four digits.
func mixedCode(w []byte) bool {
	digits := 0
	for _, c := range w {
		if isDigit(c) {
			digits++
		} else if !isUpper(c) {
			return false
		}
	}
	return digits >= 4
}

// birthday looks at group i as a date of birth: a date in figures, or a day
// and a year around the name of a month, behind a word such as "born".
func (r *scan) birthday(c *chain, i int) int {
	n := c.g[i].len()
	if n > 4 || n == 3 {
		return 0
	}
	k, end := 0, 0
	if i+3 <= c.n && r.around(c)&ctxBirth != 0 {
		k = c.dateFigures(i)
	}
	start := c.g[i].start
	if k > 0 {
		end = c.g[i+k-1].end
		if isAlpha(at(c.text, end)) {
			return 0 // a time stamp
		}
	} else if n <= 2 {
		if start, end = monthDate(c.text, c.g[i]); end == 0 {
			return 0
		}
		k = 1
	} else {
		return 0
	}
	if r.before(start)&ctxBirth == 0 || isWord(at(c.text, end)) {
		return 0
	}
	r.add(start, end, EntityBirth)
	return k
}

// dateFigures tells whether groups from i on are a date in figures, day,
// month and year in any usual order, and returns how many groups it takes.
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
	if !isAlpha(at(text, g.end)) && !isAlpha(at(text, g.end+1)) && !isAlpha(at(text, g.start-2)) && !isAlpha(at(text, g.start-3)) {
		return 0, 0
	}
	i := g.end
	for i < len(text) && i-g.end < 3 && isAlpha(text[i]) && isLower(text[i]) { // 12th
		i++
	}
	if m := skipOf(text, i); m > i && monthAt(text, m) > 0 {
		m = monthAt(text, m)
		if y := yearAt(text, skipOf(text, m)); y > 0 {
			return g.start, y
		}
		return 0, 0
	}
	// A month in front, the year behind.
	back := g.start
	for back > 0 && g.start-back < 2 && (text[back-1] == ' ' || text[back-1] == '.') {
		back--
	}
	word := back
	for word > 0 && back-word < 10 && isLetter(text[word-1]) {
		word--
	}
	if back == g.start || word == back || monthAt(text, word) != back {
		return 0, 0
	}
	if y := yearAt(text, skip(text, i, " ,")); y > 0 {
		return word, y
	}
	return 0, 0
}

// skipOf passes over what stands between a day, a month and a year: punctuation
// and the word "of" in three languages.
func skipOf(text []byte, i int) int {
	i = skip(text, i, " .-,")
	if at(text, i+2) == ' ' {
		switch string(text[i : i+2]) {
		case "of", "de", "di":
			return i + 3
		}
	}
	return i
}

// skip passes over at most four bytes of a set.
func skip(text []byte, i int, set string) int {
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

// accented are those that are not ASCII, with what they mean in their bytes.
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
		if !isDigit(at(text, i+k)) {
			return 0
		}
	}
	if y := num(text[i : i+4]); y < 1880 || y > 2100 || isWord(at(text, i+4)) {
		return 0
	}
	return i + 4
}
