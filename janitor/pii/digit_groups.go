// SPDX-License-Identifier: Apache-2.0

package pii

// grouping is one way of writing a number in groups of digits.
type grouping struct {
	lens  []int
	next  int    // length of the second group, 0 when there is none
	seps  []byte // between the groups; '_' stands for a space or a hyphen
	sure  bool   // needs no word beside it
	of    *builtin
	words context // of its recognizer
}

// groupingsByFirst holds the groupings of all recognizers by the length of
// their first group.
var groupingsByFirst = func() (table [20][]grouping) {
	for _, b := range recognizers {
		for _, g := range parseGroupings(b.groups) {
			g.of, g.words = b, b.words
			if len(g.lens) > 1 {
				g.next = g.lens[1]
			}
			table[g.lens[0]] = append(table[g.lens[0]], g)
		}
	}
	return table
}()

// parseGroupings reads groupings such as "11 !3.3.3-2", separated by spaces:
// the lengths of the groups with the separators between; "!" marks a sure one.
func parseGroupings(list string) (shapes []grouping) {
	if list == "" {
		return nil
	}
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

// matches reports whether the chain has this grouping from group i on.
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

// nationalNumber looks for the numbers of the table at group i. Of those that
// validate, one with a word beside it wins; then one whose grouping is sure; in
// a text of numbers alone, the first.
func (r *scan) nationalNumber(c *chain, i int) int {
	first := c.g[i].len()
	if first >= len(groupingsByFirst) {
		return 0
	}
	next := 0
	if i+1 < c.n {
		next = c.g[i+1].len()
	}
	bare := i == 0 && r.numbersOnly()
	shapes := groupingsByFirst[first]
	var best *grouping
	for k := range shapes {
		g := &shapes[k]
		if g.next > 0 && g.next != next {
			continue
		}
		if !g.sure && !bare && r.topicsAround(c)&g.words == 0 || !r.finds(g.of) || !g.matches(c, i) {
			continue
		}
		last := i + len(g.lens) - 1
		said := r.topicsBeside(c, i, last, g.words) != 0
		if !said && (best != nil || !g.sure && !(bare && last == c.n-1)) || !g.valid(c, i) {
			continue
		}
		if best = g; said {
			break
		}
	}
	if best == nil {
		return 0
	}
	r.add(c.g[i].start, c.g[i+len(best.lens)-1].end, best.of.entity)
	return len(best.lens)
}

// valid reports whether the digits from group i on are a number of the
// recognizer.
func (g *grouping) valid(c *chain, i int) bool {
	var n idNumber
	n.size = c.digits(i, i+len(g.lens)-1, n.text[:])
	return !sameDigits(n.bytes()) && g.of.valid(n)
}
