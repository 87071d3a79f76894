// SPDX-License-Identifier: Apache-2.0

package pii

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
