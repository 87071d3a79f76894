// SPDX-License-Identifier: Apache-2.0

package pii

// nanpPhone takes the North American 3-3-4, with or without a 1 before.
func (r *scan) nanpPhone(c *chain, i int) int {
	area := i
	if g := c.g[i]; g.len() == 1 && c.text[g.start] == '1' && i+3 < c.n {
		area++
	}
	if !c.threeThreeFour(area) {
		return 0
	}
	k := area + 3 - i
	if c.joinedNANP(i, area) || r.phoneContext(c, i, k) != 0 || r.numbersOnly() && i == 0 && k == c.n {
		return k
	}
	return 0
}

// threeThreeFour reports whether the groups from i on have these lengths, and a
// hyphen, a dot or a space before the last.
func (c *chain) threeThreeFour(i int) bool {
	if i+3 > c.n || c.g[i].len() != 3 || c.g[i+1].len() != 3 || c.g[i+2].len() != 4 || !c.endsPhone(i+2) {
		return false
	}
	sep := c.gap(i + 2)
	return sep == '-' || sep == '.' || sep == ' '
}

// joinedNANP reports whether the separators are those of phone numbers and of
// little else. The number begins with group i; its area code is group area.
func (c *chain) joinedNANP(i, area int) bool {
	one, two := c.gap(area+1), c.gap(area+2)
	if g := c.g[area]; byteAt(c.text, g.start-1) == '(' && c.text[g.end] == ')' {
		return true // (415) 555-0132
	}
	switch two {
	case '.':
		return one == '.'
	case '-':
		return one == '-' || area > i && c.gap(area) == '-' ||
			(one == '/' || one == ' ') && validArea(c.digitsOf(area))
	}
	return false
}

// validArea reports whether three digits can be a North American area code:
// 2-9, and no second digit of 9 (reserved for expansion), no N11.
func validArea(d []byte) bool {
	return d[0] >= '2' && d[1] != '9' && !(d[1] == '1' && d[2] == '1')
}
