// SPDX-License-Identifier: Apache-2.0

package pii

// zeroShape is a form of numbers in one country that little else has.
type zeroShape struct {
	lens           string // digits of each group
	match, noMatch string
}

// zeroShapes are those of numbers with the trunk prefix 0, in groups with
// spaces (ITU-T E.123 and the numbering plans). Amounts have no trunk prefix;
// dates and rows of figures have other groups.
var zeroShapes = []zeroShape{
	{"22222", "06 12 34 56 78", "01 02 03 04 05"},   // FR
	{"56", "07400 123456", "07400 12345"},           // UK
	{"344", "020 7946 0958", "020 7946 0958 1234"},  // UK, JP, KR
	{"433", "0412 345 678", "0412 345 678 901"},     // AU, KE
	{"334", "071 123 4567", "071.123.4567"},         // ZA, TH, EC
	{"4222", "0470 12 34 56", "0470 12 34 56 1d"},   // BE
	{"2322", "02 123 45 67", "02 123 45 67 89"},     // BE
	{"3322", "076 123 45 67", "076/123 45 67"},      // CH, SE
	{"47", "0171 1234567", "0171 123456"},           // DE
	{"48", "0151 12345678", "0151 1234567890"},      // DE
	{"57", "01512 3456789", "01512.3456789"},        // DE
	{"38", "010 01234567", "010 01234567 ab cd ef"}, // EG
}

// nationalPhone returns the number of groups from i on that make a number in a
// national form that needs no word: it stands by itself, outside any row of
// figures.
func (c *chain) nationalPhone(i int) int {
	start := c.g[i].start
	first := c.text[start:c.g[i].end]
	if i > 0 && c.gap(i) != 0 {
		return 0
	}
	switch byteAt(c.text, start-1) {
	case '(':
		return c.parenthesizedPhone(i)
	case '0', '.', '-', '/', '_', ',', '|', ';':
		return 0
	}
	zero := len(first) >= 2 && first[0] == '0' && first[1] != '0'
	china := len(first) == 3 && first[0] == '1' && first[1] >= '3' // 138 1234 5678
	if !zero && !china || !freeBefore(c.text, start) {
		return 0
	}
	if zero {
		for k := range zeroShapes {
			if lens := zeroShapes[k].lens; c.hasShape(i, lens) {
				return len(lens)
			}
		}
	}
	if china && c.hasShape(i, "344") {
		return 3
	}
	return 0
}

// hasShape reports whether the groups from i on have these lengths with spaces
// between, and are no count or part of a row of figures.
func (c *chain) hasShape(i int, lens string) bool {
	last := i + len(lens) - 1
	if last >= c.n {
		return false
	}
	for k := range len(lens) {
		if c.g[i+k].len() != int(lens[k]-'0') {
			return false
		}
		switch gap := c.gap(i + k); {
		case k == 0, gap == ' ', gap == '-' && k == 1:
		case gap == '.' && len(lens) == 5 && (k == 1 || c.gap(i+1) == '.'): // FR 06.12.34.56.78
		default:
			return false
		}
	}
	if last+1 < c.n && c.gap(last+1) != 0 || !c.endsPhone(last) || c.isCounting(i, last) {
		return false
	}
	return !c.besideHex(i, last) && !hexRow(c.text, c.g[last].end)
}

// hexRow reports whether two pairs of hexadecimal digits follow text[:i], as in a
// dump of memory.
func hexRow(text []byte, i int) bool {
	for range 2 {
		from := i
		for i < len(text) && i-from < 3 && text[i] == ' ' {
			i++
		}
		if i == from || !isHex(byteAt(text, i)) || !isHex(byteAt(text, i+1)) || isWord(byteAt(text, i+2)) {
			return false
		}
		i += 2
	}
	return true
}

// parenthesizedPhone takes an area code in parentheses and a number in groups
// of a form that sums and years do not have.
func (c *chain) parenthesizedPhone(i int) int {
	area := c.g[i]
	if byteAt(c.text, area.end) != ')' || area.len() < 2 || area.len() > 5 {
		return 0
	}
	if before := byteAt(c.text, area.start-2); inWord(c.text, area.start-1) || before == ')' || before == ']' || before == '.' {
		return 0 // a call in program text, or a year after a volume
	}
	last := i
	for last+1 < c.n && (last == i || c.gap(last+1) == ' ' || c.gap(last+1) == '-') {
		last++
	}
	if k := last - i + 1; c.endsPhone(last) && (c.zeroArea(i, k) || c.brazilian(i, k) || c.russian(i, k)) {
		return k
	}
	return 0
}

// zeroArea reports whether the area code has the trunk prefix: (020) 7946 0958.
func (c *chain) zeroArea(i, k int) bool {
	area, total := c.digitsOf(i), c.count(i, i+k-1)
	return area[0] == '0' && area[1] != '0' && k >= 2 && k <= 4 && total >= 9 && total <= 12 && c.g[i+1].len() >= 3
}

// brazilian reports whether the groups have the form (11) 91234-5678.
func (c *chain) brazilian(i, k int) bool {
	return k == 3 && c.g[i].len() == 2 && c.g[i+1].len() >= 4 && c.g[i+2].len() == 4 && c.gap(i+2) == '-' && c.count(i, i+2) <= 11
}

// russian reports whether the groups have the form (495) 123-45-67, used in
// Ukraine as well.
func (c *chain) russian(i, k int) bool {
	return k == 4 && c.g[i].len() == 3 && c.g[i+1].len() == 3 && c.g[i+2].len() == 2 && c.g[i+3].len() == 2 && c.gap(i+3) == '-'
}
