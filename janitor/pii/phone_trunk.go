// SPDX-License-Identifier: Apache-2.0

package pii

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
	if k >= 3 && (c.gap(i+1) != ' ' || spaced && !c.besideHex(i, i+k-1)) || r.phoneContext(c, i, k)&phone.words != 0 || r.bare() && k == c.n {
		return k
	}
	return 0
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
	if best >= 3 && clean && r.around(c)&numberWords != 0 && r.before(c.g[i].start)&numberWords != 0 {
		return best // "my number is 0412 345 678"
	}
	return 0
}
