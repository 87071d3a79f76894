// SPDX-License-Identifier: Apache-2.0

package pii

// national is a number of digits only that a country gives its people: how
// its groups are written and which words speak of it.
type national struct {
	rec    int
	shapes string // groupings, see parseShape; "!" in front: sure without a word
	topics context
}

// grouping is one way of writing a number in groups.
type grouping struct {
	lens []int
	next int    // length of the second group, 0 when there is none
	seps []byte // between the groups; '_' stands for a space or a hyphen
	sure bool
	of   *national
}

// shapesByFirst holds the groupings of all national numbers by the length of
// their first group.
var shapesByFirst = func() (table [20][]grouping) {
	for k := range nationals {
		n := &nationals[k]
		for _, g := range parseShapes(n.shapes) {
			g.of = n
			if len(g.lens) > 1 {
				g.next = g.lens[1]
			}
			table[g.lens[0]] = append(table[g.lens[0]], g)
		}
	}
	return table
}()

// parseShapes reads groupings such as "11 !3.3.3-2": space-separated, each the
// lengths of the groups with the separator between.
func parseShapes(list string) (shapes []grouping) {
	var g grouping
	n := 0
	for i := 0; i <= len(list); i++ {
		switch {
		case i == len(list) || list[i] == ' ':
			g.lens = append(g.lens, n)
			shapes = append(shapes, g)
			g, n = grouping{}, 0
		case list[i] == '!':
			g.sure = true
		case isDigit(list[i]):
			n = n*10 + int(list[i]-'0')
		default:
			g.lens = append(g.lens, n)
			g.seps = append(g.seps, list[i])
			n = 0
		}
	}
	return shapes
}

// matches tells whether the chain has this grouping from group i on.
func (g *grouping) matches(c *chain, i int) bool {
	if i+len(g.lens) > c.n {
		return false
	}
	for k, sep := range g.seps {
		if c.g[i+k+1].len() != g.lens[k+1] {
			return false
		}
		gap := c.gap(i + k + 1)
		if gap != sep && (sep != '_' || gap != ' ' && gap != '-') {
			return false
		}
		if sep == '_' && k > 0 && gap != c.gap(i+1) {
			return false
		}
	}
	return c.ends(i + len(g.lens) - 1)
}

// national looks for the numbers of the table at group i. Of those that
// validate, one that a word speaks for wins; then one whose writing is sure;
// a text of nothing but numbers is taken for the first that validates.
func (r *scan) national(c *chain, i int) int {
	first := c.g[i].len()
	if first >= len(shapesByFirst) {
		return 0
	}
	var buf [20]byte
	var sure *grouping
	shapes := shapesByFirst[first]
	bare := i == 0 && r.bare()
	next := 0
	if i+1 < c.n {
		next = c.g[i+1].len()
	}
	for k := range shapes {
		g := &shapes[k]
		if g.next > 0 && g.next != next {
			continue
		}
		if !g.sure && !bare && r.around(c)&g.of.topics == 0 || !r.on[g.of.rec] || !g.matches(c, i) {
			continue
		}
		last := i + len(g.lens) - 1
		said := r.around(c)&g.of.topics != 0 && (r.before(c.g[i].start)|r.after(c.g[last].end))&g.of.topics != 0
		if !said && (sure != nil || !g.sure && !(bare && last == c.n-1)) {
			continue
		}
		d := buf[:c.digits(i, last, buf[:])]
		if sameDigits(d) || !g.of.valid(d) {
			continue
		}
		if said {
			r.add(c.g[i].start, c.g[last].end, builtins[g.of.rec].entity)
			return len(g.lens)
		}
		sure = g
	}
	if sure == nil {
		return 0
	}
	r.add(c.g[i].start, c.g[i+len(sure.lens)-1].end, builtins[sure.of.rec].entity)
	return len(sure.lens)
}

// validDate tells whether a day of a month exists; the year decides about 29
// February when it is given, 0 when it is not known.
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

// num reads a few digits as a number.
func num(d []byte) int {
	n := 0
	for _, c := range d {
		n = n*10 + int(c-'0')
	}
	return n
}

// mod97Digits is the remainder of a decimal number.
func mod97Digits(d []byte) int {
	rest := 0
	for _, c := range d {
		rest = (rest*10 + int(c-'0')) % 97
	}
	return rest
}
