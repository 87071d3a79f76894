// SPDX-License-Identifier: Apache-2.0

package pii

// validSSN applies the rules of the Social Security Administration since
// randomisation (2011): no area 000, 666 or 9xx, no group 00, no serial 0000;
// and the numbers that were printed in advertisements.
func validSSN(d []byte) bool {
	switch string(d) {
	case "078051120", "219099999", "123456789", "987654321":
		return false
	}
	area := string(d[:3])
	return area != "000" && area != "666" && d[0] != '9' &&
		string(d[3:5]) != "00" && string(d[5:]) != "0000" && !sameDigits(d)
}

// ssn looks for a US social security or individual taxpayer number that
// begins with group i. In 3-2-4 groups it needs no context; otherwise a word,
// or a text that is nothing but numbers, must speak for it.
func (r *scan) ssn(c *chain, i int) int {
	if !r.on[recSSN] && !r.on[recITIN] {
		return 0
	}
	k, sure := 0, false
	if sep, ok := c.lens(i, 3, 2, 4); ok && (sep == '-' || sep == ' ' || sep == '.') {
		k, sure = 3, sep == '-' || c.rowOf(i, 3)
		if !sure && r.before(c.g[i].start)&(ctxSSN|ctxITIN) == 0 {
			return 0 // part of a row of numbers
		}
	} else if _, ok := c.lens(i, 9); ok {
		k = 1
	} else if sep, ok := c.lens(i, 3, 6); ok && sep == '-' {
		k = 2
	} else if sep, ok := c.lens(i, 5, 4); ok && sep == '-' {
		k = 2
	}
	if k == 0 || !c.ends(i+k-1) {
		return 0
	}
	var buf [9]byte
	d := buf[:c.digits(i, i+k-1, buf[:])]
	start, end := c.g[i].start, c.g[i+k-1].end
	switch {
	case r.on[recSSN] && validSSN(d):
		if sure || r.bare() || r.before(start)&ctxSSN != 0 {
			r.add(start, end, EntitySSN)
			return k
		}
	case r.on[recITIN] && validITIN(d):
		if sure || r.bare() || r.before(start)&ctxITIN != 0 {
			r.add(start, end, EntityITIN)
			return k
		}
	}
	return 0
}
