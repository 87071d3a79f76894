// SPDX-License-Identifier: Apache-2.0

package pii

// maxPhone is the most digits of an international number with a "00" or
// "011" in front (ITU-T E.164: 15).
const maxPhone = 18

// phone looks for a phone number that begins with group i and returns how
// many groups it takes. The forms, from the surest to those that need a word:
// "+" and a country code, "00" and a country code in groups, the North
// American 3-3-4, a national number with a leading 0 in groups, anything
// beside a word such as "phone".
func (r *scan) phone(c *chain, i int) int {
	start := c.g[i].start
	switch prev := at(c.text, start-1); prev {
	case '+':
		return r.international(c, i)
	case '$', '#', '=', '*', '<', '>', '%', ',':
		if prev != ',' && prev != '=' && prev != '>' {
			return 0
		}
	case '(':
		if at(c.text, start-2) == '+' {
			return r.international(c, i)
		}
	}
	k, first, zero := 0, c.g[i].len(), c.text[start] == '0'
	if first == 3 || first == 1 {
		k = r.nanp(c, i)
	}
	if k == 0 && zero {
		if k = r.prefixed(c, i); k == 0 {
			k = r.trunk(c, i)
		}
	}
	if k == 0 {
		k = c.nationalPhone(i)
	}
	if k == 0 {
		k = r.spoken(c, i)
	}
	if k > 0 {
		r.addPhone(c, i, k)
	}
	return k
}

// addPhone records groups i to i+k-1, with an opening parenthesis in front and
// an extension behind.
func (r *scan) addPhone(c *chain, i, k int) {
	start, end := c.g[i].start, c.g[i+k-1].end
	if at(c.text, start-1) == '(' && parenCloses(c.text, start) {
		start--
	}
	if at(c.text, start-1) == '+' {
		start--
		if at(c.text, start-1) == '(' && parenCloses(c.text, start) {
			start--
		}
	}
	r.add(start, extension(c.text, end), EntityPhone)
}

// parenCloses tells whether a parenthesis closes within the next few bytes,
// as around an area code.
func parenCloses(text []byte, i int) bool {
	for j := i; j < len(text) && j < i+7; j++ {
		if text[j] == ')' {
			return true
		}
	}
	return false
}

// international takes "+", a country code and a national number of a length
// the country has.
func (r *scan) international(c *chain, i int) int {
	plus := c.g[i].start - 1
	if c.text[plus] == '(' {
		plus--
	}
	if before := at(c.text, plus-1); inWord(c.text, plus) || before == '+' || before == ')' || before == ']' || before == '.' {
		return 0
	}
	k := c.withCode(i, 0)
	if k == 0 || k == 2 && r.coordinates(c, i) {
		return 0
	}
	r.addPhone(c, i, k)
	return k
}

// coordinates tells a place on earth in degrees and minutes, and seconds
// (ISO 6709), from a number: "+4612-05957". A word says that it is none.
func (r *scan) coordinates(c *chain, i int) bool {
	a, b := c.g[i], c.g[i+1]
	if c.gap(i+1) != '-' || !(a.len() == 4 && b.len() == 5 || a.len() == 6 && b.len() == 7) {
		return false
	}
	latitude, longitude := c.text[a.start:a.end], c.text[b.start:b.end]
	return num(latitude[:2]) < 90 && latitude[2] < '6' && num(longitude[:3]) <= 180 && longitude[3] < '6' && r.phoneContext(c, i, 2) == 0
}

// withCode returns how many groups from i on make a number with a country
// code that begins after skip digits. The longest one that fits is taken.
func (c *chain) withCode(i, skip int) int {
	var buf [maxPhone]byte
	best, n := 0, 0
	for k := 1; i+k <= c.n && k <= 8; k++ {
		more := c.digits(i+k-1, i+k-1, buf[n:])
		if more == 0 {
			break
		}
		n += more
		if n > skip && buf[skip] == '0' {
			return 0 // no country's
		}
		if n < skip+7 {
			continue
		}
		d := buf[skip:n]
		code, l := splitCode(d)
		if code == 0 {
			return 0
		}
		national := d[code:]
		if national[0] == '0' && len(national) > int(l.min) && (d[0] != '1' || code > 1) {
			national = national[1:] // the trunk prefix, as in +44 (0)20
		}
		if len(national) > int(l.max) {
			break
		}
		if len(national) >= int(l.min) && c.endsPhone(i+k-1) {
			best = k
		}
	}
	return best
}

// prefixed takes "00", "001" or "011" and a country code, in groups.
func (r *scan) prefixed(c *chain, i int) int {
	g := c.g[i]
	first := c.text[g.start:g.end]
	if len(first) < 2 || first[0] != '0' {
		return 0
	}
	skip := 0
	switch {
	case first[1] == '0':
		skip = 2
	case len(first) >= 3 && first[1] == '1' && first[2] == '1':
		skip = 3
	default:
		return 0
	}
	k := c.withCode(i, skip)
	if k == 0 || !freeBefore(c.text, g.start) || k > 1 && c.gap(i+1) == '.' && c.gap(i+k-1) != '.' {
		return 0
	}
	// With spaces, the country code stands by itself and its number has no trunk
	// prefix, as nothing in a row of figures does.
	spaced := c.gap(i+1) == ' ' && len(first) >= 4 && len(first) <= 5 && c.text[c.g[i+1].start] != '0' && c.g[i+k-1].len() != len(first) && (i == 0 || c.gap(i) == 0) && (i+k == c.n || c.gap(i+k) == 0)
	if k >= 3 && (c.gap(i+1) != ' ' || spaced && !c.besideHex(i, i+k-1)) || r.phoneContext(c, i, k)&ctxPhone != 0 || r.bare() && k == c.n {
		return k
	}
	return 0
}

// nanp takes the North American 3-3-4, with or without a 1 in front.
func (r *scan) nanp(c *chain, i int) int {
	k := 0
	if g := c.g[i]; g.len() == 1 && c.text[g.start] == '1' && i+3 < c.n {
		k = 1
	}
	if i+k+3 > c.n || c.g[i+k].len() != 3 || c.g[i+k+1].len() != 3 || c.g[i+k+2].len() != 4 || !c.endsPhone(i+k+2) {
		return 0
	}
	one := c.gap(i + k + 2)
	if one != '-' && one != '.' && one != ' ' {
		return 0
	}
	paren := c.text[c.g[i+k].end] == ')'
	switch {
	case paren && at(c.text, c.g[i+k].start-1) == '(':
		return k + 3
	case c.gap(i+k+1) == one && one != ' ':
		return k + 3
	case k == 1 && c.gap(i+1) == one && one == '-':
		return k + 3
	case (c.gap(i+k+1) == '/' || c.gap(i+k+1) == ' ') && one == '-' && validArea(c.text[c.g[i+k].start:]):
		return k + 3
	case r.phoneContext(c, i, k+3) != 0 || r.bare() && i == 0 && k+3 == c.n:
		return k + 3
	}
	return 0
}

// validArea tells whether three digits can be a North American area code:
// 2-9, and no second digit of 9 (reserved for expansion), no N11.
func validArea(d []byte) bool {
	return d[0] >= '2' && d[1] != '9' && !(d[1] == '1' && d[2] == '1')
}

// trunk takes a number with a leading 0 in groups joined by hyphens or a
// slash; with spaces only beside a word.
func (r *scan) trunk(c *chain, i int) int {
	g := c.g[i]
	if g.len() < 2 || g.len() > 6 || c.text[g.start] != '0' || c.text[g.start+1] == '0' {
		return 0
	}
	total, best, hyphen := g.len(), 0, false
	for k := 1; i+k < c.n && k < 6; k++ {
		next := c.g[i+k]
		gap := c.gap(i + k)
		if gap == 0 || gap == '.' || next.len() < 2 && gap != ' ' {
			break
		}
		hyphen = hyphen || gap == '-' || gap == '/'
		total += next.len()
		if total > 12 {
			break
		}
		if total >= 9 && c.endsPhone(i+k) {
			best = k + 1
		}
	}
	if _, ssn := c.lens(i, 3, 2, 4); best == 0 || ssn || c.date(i, best) {
		return 0
	}
	// Postal codes (02110-1301), parts of paths and of longer identifiers look
	// the same.
	clean := freeBefore(c.text, c.g[i].start) && g.len() <= 5 && !(best == 2 && g.len() == 5)
	if clean && hyphen && best <= 3 && c.g[i+best-1].len() >= 4 || r.phoneContext(c, i, best) != 0 || r.bare() && i == 0 && best == c.n {
		return best
	}
	if best >= 3 && clean && r.around(c)&ctxNumber != 0 && r.before(c.g[i].start)&ctxNumber != 0 {
		return best // "my number is 0412 345 678"
	}
	return 0
}

// spoken takes other forms, beside a word that speaks of phones; or as a text
// of nothing else.
func (r *scan) spoken(c *chain, i int) int {
	if r.around(c)&(ctxPhone|ctxCall) == 0 && !r.bare() {
		return 0
	}
	first := c.text[c.g[i].start:c.g[i].end]
	next := c.gap(i + 1)
	if timestamp(first) && (i+1 == c.n || next == '.') || next == '.' && c.gap(i+2) == '.' && c.gap(i+3) == '.' ||
		first[0] == '0' && len(first) > 2 && first[1] == '0' || c.dateFigures(i) > 0 && c.gap(i+3) != next {
		return 0
	}
	if !freeBefore(c.text, c.g[i].start) || r.before(c.g[i].start)&(ctxPhone|ctxCall) == 0 && !followedByWord(c) && !r.bare() {
		return 0
	}
	best := c.dialled(i)
	if best == 0 || c.date(i, best) || best == 1 && (timestamp(first) || round(first, 6) || at(c.text, c.g[i].start-1) == ':' && at(c.text, c.g[i].end) == ':') {
		return 0
	}
	if best == 2 && (next == '.' && len(first) != 3 || next == '-' && len(first) == 5 && c.g[i+1].len() == 4 && first[0] != '9') {
		return 0 // a fraction, a postal code
	}
	if i+1 < c.n && c.text[c.g[i].end] == ' ' && c.g[i+1].len() == 4 && year(c.text[c.g[i+1].start:]) && c.text[c.g[i+1].start-1] == '(' {
		return 0 // volume (year) pages
	}
	if len(first) == 4 && year(first) && at(c.text, c.g[i].end) == ')' {
		return 0
	}
	switch topics := r.phoneContext(c, i, best); {
	case best > 1 && topics != 0:
		return best
	case best == 1 && topics&ctxPhone != 0 && len(first) >= 7 && !timestamp(first):
		return best
	case best == 1 && topics == 0 && !r.bare(), timestamp(first):
		return 0
	case (topics != 0 || i == 0 && best == c.n && r.bare()) && plausibleBare(c, i, best):
		return best
	}
	return 0
}

// freeBefore tells whether a number stands by itself: behind white space or
// punctuation that sets it off.
func freeBefore(text []byte, i int) bool {
	switch c := at(text, i-1); c {
	case '(':
		return freeBefore(text, i-1)
	case ':', ',', ';', '"', '\'', '>', '=', '|', '`', 0:
		return true
	default:
		return c <= ' ' || c >= 0x80 || escapeBefore(text, i) > 0
	}
}

// followedByWord tells whether letters stand behind the chain, the one place
// where a word can speak for a number besides the text in front.
func followedByWord(c *chain) bool {
	end := c.g[c.n-1].end
	for k := range contextAfter {
		switch b := at(c.text, end+k); {
		case isLetter(b):
			return true
		case b == '\n', b == '[', b == 0, isDigit(b):
			return false
		}
	}
	return false
}

// dialled returns how many groups from i on could be one number that is
// spoken of: seven to thirteen digits, or three pairs.
func (c *chain) dialled(i int) int {
	total, best := 0, 0
	for k := 0; i+k < c.n && k < 7; k++ {
		if k > 0 && (c.g[i+k].start-c.g[i+k-1].end > 2 || c.gap(i+k) == '/') {
			break
		}
		total += c.g[i+k].len()
		if total > 13 || k > 0 && c.gap(i+k) == '.' && c.gap(i+1) != '.' || k > 1 && c.gap(i+1) == '.' && c.gap(i+k) != '.' {
			break
		}
		if (total >= 7 || total == 6 && k == 2 && c.gap(i+1) == ' ' && c.gap(i+2) == ' ' && c.g[i].len() == 2) && c.endsPhone(i+k) {
			best = k + 1
		}
	}
	return best
}

// plausibleBare judges a number that makes up a whole text.
func plausibleBare(c *chain, i, k int) bool {
	var buf [maxPhone]byte
	d := buf[:c.digits(i, i+k-1, buf[:])]
	for j := 1; j < k; j++ {
		if c.gap(i+j) == '.' {
			return false
		}
	}
	if _, ok := c.lens(i, 3, 2, 4); ok {
		return false // a social security number that is none
	}
	switch {
	case len(d) < 9:
		return k > 1 && len(d) >= 7
	case d[0] == '0':
		return len(d) <= 13
	case len(d) == 10:
		return validArea(d) && d[3] >= '2'
	case len(d) >= 11 && len(d) <= 13:
		code, l := splitCode(d)
		return code > 0 && len(d)-code >= int(l.min) && len(d)-code <= int(l.max)
	}
	return false
}

// phoneContext returns what the words around k groups from i on say of phones.
func (r *scan) phoneContext(c *chain, i, k int) context {
	if r.around(c)&(ctxPhone|ctxCall) == 0 {
		return 0
	}
	return (r.before(c.g[i].start) | r.after(c.g[i+k-1].end)) & (ctxPhone | ctxCall)
}

// endsPhone is ends, with an extension allowed behind.
func (c *chain) endsPhone(i int) bool {
	return c.ends(i) || i == c.n-1 && extension(c.text, c.g[i].end) > c.g[i].end
}

// date tells whether the groups are a date, two years or a bit pattern rather than a number.
func (c *chain) date(i, k int) bool {
	if bits01(c.text[c.g[i].start:c.g[i+k-1].end]) {
		return true
	}
	if _, ok := c.lens(i, 4, 2, 2); ok && k == 3 {
		return year(c.text[c.g[i].start:])
	}
	if sep, ok := c.lens(i, 2, 2, 4); ok && k == 3 {
		return sep != ' '
	}
	if _, ok := c.lens(i, 4, 4); ok && k == 2 {
		return year(c.text[c.g[i].start:]) && year(c.text[c.g[i+1].start:])
	}
	if k == 1 && c.g[i].len() == 8 {
		d := c.text[c.g[i].start:c.g[i].end]
		return year(d) && d[4] <= '1' && d[6] <= '3'
	}
	return false
}

// bits01 tells figures of noughts and ones alone.
func bits01(text []byte) bool {
	for _, c := range text {
		if c >= '2' && c <= '9' {
			return false
		}
	}
	return true
}

// year tells figures that begin like a year of this and the last century.
func year(d []byte) bool { return d[0] == '1' && d[1] == '9' || d[0] == '2' && d[1] == '0' }

// timestamp tells seconds and milliseconds since 1970 of this and the next
// decade from numbers people dial.
func timestamp(d []byte) bool {
	return (len(d) == 10 || len(d) == 13) && d[0] == '1' && d[1] >= '5'
}

// extension returns the end of an extension such as "x818" or ", ext. 42" that
// follows text[:end], or end.
func extension(text []byte, end int) int {
	i := end
	for i < len(text) && i-end < 3 && (text[i] == ' ' || text[i] == ',') {
		i++
	}
	word := i
	for i < len(text) && i-word <= 9 && isAlpha(text[i]) {
		i++
	}
	switch {
	case equalFold(text[word:i], "x"), equalFold(text[word:i], "ext"), equalFold(text[word:i], "extension"), equalFold(text[word:i], "int"):
	default:
		return end
	}
	for k := 0; k < 2 && (at(text, i) == '.' || at(text, i) == ' ' || at(text, i) == ':'); k++ {
		i++
	}
	digits := i
	for i < len(text) && i-digits < 7 && isDigit(text[i]) {
		i++
	}
	if i == digits || isWord(at(text, i)) {
		return end
	}
	return i
}
