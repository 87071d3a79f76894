// SPDX-License-Identifier: Apache-2.0

package pii

// EntitySSN labels US social security numbers.
const EntitySSN Entity = "SSN"

var ssn = builtin{
	name:   "ssn",
	entity: EntitySSN,
	doc:    "US social security numbers: area, group and serial rules (SSA), in 3-2-4 groups; nine digits together only beside a word such as ssn.",
	words:  topic("ssn ssns social ssid"),
	match: []string{
		"ssn «078-05-1123»",
		"my SSN is «078051123» ok",
	},
	noMatch: []string{
		"order 078051123 shipped",
		"078-05-1120",
		"666-12-3456",
	},
}

// validSSN applies the rules of the Social Security Administration since
// randomization (2011): no area 000, 666 or 9xx, no group 00, no serial 0000,
// and none of the numbers once printed in advertisements.
func validSSN(d []byte) bool {
	switch string(d) {
	case "078051120", "219099999", "123456789", "987654321":
		return false
	}
	area := string(d[:3])
	return area != "000" && area != "666" && d[0] != '9' &&
		string(d[3:5]) != "00" && string(d[5:]) != "0000" && !sameDigits(d)
}

// ssn looks for a US social security or individual taxpayer number that begins
// with group i. In 3-2-4 groups it needs no word; otherwise a word must stand
// beside it, or the text be numbers alone.
func (r *scan) ssn(c *chain, i int) int {
	k := c.ssnGroups(i)
	if k == 0 || !r.finds(&ssn) && !r.finds(&itin) {
		return 0
	}
	start, end := c.g[i].start, c.g[i+k-1].end
	sure := k == 3 && (c.gap(i+1) == '-' || c.rowOf(i, 3))
	if k == 3 && !sure && r.topicsBefore(start)&(ssn.words|itin.words) == 0 || !c.ends(i+k-1) {
		return 0 // part of a row of numbers
	}
	var buf [9]byte
	d := buf[:c.digits(i, i+k-1, buf[:])]
	var kind *builtin
	switch {
	case r.finds(&ssn) && validSSN(d):
		kind = &ssn
	case r.finds(&itin) && validITIN(d):
		kind = &itin
	default:
		return 0
	}
	if !sure && !r.numbersOnly() && r.topicsBefore(start)&kind.words == 0 {
		return 0
	}
	r.add(start, end, kind.entity)
	return k
}

// ssnGroups returns the number of groups from i on that are written as a social
// security number: 3-2-4, nine digits together, 3-6 or 5-4; zero when they are
// not.
func (c *chain) ssnGroups(i int) int {
	if sep, ok := c.lens(i, 3, 2, 4); ok && (sep == '-' || sep == ' ' || sep == '.') {
		return 3
	}
	if c.g[i].len() == 9 {
		return 1
	}
	if sep, ok := c.lens(i, 3, 6); ok && sep == '-' {
		return 2
	}
	if sep, ok := c.lens(i, 5, 4); ok && sep == '-' {
		return 2
	}
	return 0
}
