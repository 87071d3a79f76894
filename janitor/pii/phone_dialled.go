// SPDX-License-Identifier: Apache-2.0

package pii

// exitCodePhone takes an exit code (00, 001 or 011) and a country code, in
// groups.
func (r *scan) exitCodePhone(c *chain, i int) int {
	skip := exitCode(c.digitsOf(i))
	if skip == 0 {
		return 0
	}
	k := c.countryCodeGroups(i, skip)
	if k == 0 || !freeBefore(c.text, c.g[i].start) || k > 1 && c.gap(i+1) == '.' && c.gap(i+k-1) != '.' {
		return 0
	}
	if k >= 3 && (c.gap(i+1) != ' ' || c.codeApart(i, k)) || r.phoneContext(c, i, k)&phone.words != 0 || r.numbersOnly() && k == c.n {
		return k
	}
	return 0
}

// exitCode returns the length of the exit code that digits begin with: 2 for
// 00, 3 for 011, else zero.
func exitCode(d []byte) int {
	switch {
	case len(d) < 2 || d[0] != '0':
		return 0
	case d[1] == '0':
		return 2
	case len(d) >= 3 && d[1] == '1' && d[2] == '1':
		return 3
	}
	return 0
}

// codeApart reports, of k groups with a space after the first, whether the
// first is the country code alone and no trunk prefix follows. Rows of figures
// look otherwise: 0049 30 901820, but 0010 0020 0030.
func (c *chain) codeApart(i, k int) bool {
	size, last := c.g[i].len(), i+k-1
	if size < 4 || size > 5 || c.text[c.g[i+1].start] == '0' || c.g[last].len() == size {
		return false
	}
	return (i == 0 || c.gap(i) == 0) && (last+1 == c.n || c.gap(last+1) == 0) && !c.besideHex(i, last)
}

// trunkPhone takes a number with the trunk prefix 0 in groups joined by hyphens
// or a slash, and with spaces only beside a word.
func (r *scan) trunkPhone(c *chain, i int) int {
	k, hyphen := c.trunkGroups(i)
	if k == 0 || c.isDate(i, k) {
		return 0
	}
	setOff := c.trunkSetOff(i, k)
	switch {
	case setOff && hyphen && k <= 3 && c.g[i+k-1].len() >= 4:
		return k
	case r.phoneContext(c, i, k) != 0, r.numbersOnly() && i == 0 && k == c.n:
		return k
	case setOff && k >= 3 && r.topicsAround(c)&numberWords != 0 && r.topicsBefore(c.g[i].start)&numberWords != 0:
		return k // "my number is 0412 345 678"
	}
	return 0
}

// trunkGroups returns the number of groups from i on that make a number of nine
// to twelve digits with a single 0 before it, or zero. It also reports whether
// a hyphen or a slash joins any of them.
func (c *chain) trunkGroups(i int) (k int, hyphen bool) {
	first := c.digitsOf(i)
	if len(first) < 2 || len(first) > 6 || first[0] != '0' || first[1] == '0' {
		return 0, false
	}
	if _, ok := c.lens(i, 3, 2, 4); ok {
		return 0, false // the form of a social security number
	}
	total := len(first)
	for j := i + 1; j < c.n && j < i+6; j++ {
		gap := c.gap(j)
		if gap == 0 || gap == '.' || c.g[j].len() < 2 && gap != ' ' {
			break
		}
		hyphen = hyphen || gap == '-' || gap == '/'
		if total += c.g[j].len(); total > 12 {
			break
		}
		if total >= 9 && c.endsPhone(j) {
			k = j - i + 1
		}
	}
	return k, hyphen
}

// trunkSetOff reports whether the number stands by itself. Postal codes
// (02110-1301), parts of paths and of longer identifiers look the same.
func (c *chain) trunkSetOff(i, k int) bool {
	size := c.g[i].len()
	return size <= 5 && (k != 2 || size != 5) && freeBefore(c.text, c.g[i].start)
}
