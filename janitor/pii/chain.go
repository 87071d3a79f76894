// SPDX-License-Identifier: Apache-2.0

package pii

// group is a run of digits.
type group struct{ start, end int }

func (g group) len() int { return g.end - g.start }

// maxGroups bounds a chain; maxGap the separators between two of its groups.
const (
	maxGroups = 24
	maxGap    = 3
)

// chain is a stretch of digit groups with at most maxGap separators between two
// of them. Every number written in digits alone lies in one.
type chain struct {
	text []byte
	g    [maxGroups]group
	rest [maxGroups]int // digits from this group to the end
	n    int
	done int // groups before this one belong to a finding

	topics context // see topicsAround
	asked  bool    // topics are known
}

// parse makes c the chain that begins with the run of digits text[p:end].
func (c *chain) parse(text []byte, p, end int) {
	c.text, c.done, c.asked = text, 0, false
	n := 0
	for {
		c.g[n] = group{p, end}
		if n++; n == maxGroups {
			break
		}
		p = end
		for p < len(text) && p-end < maxGap && separator(text[p]) {
			p++
		}
		if p == end || p == len(text) || !isDigit(text[p]) {
			break
		}
		end = digitsEnd(text, p)
	}
	c.n = n
	total := 0
	for i := n - 1; i >= 0; i-- {
		total += c.g[i].len()
		c.rest[i] = total
	}
}

// digitsEnd returns the end of the run of digits that begins at text[p].
func digitsEnd(text []byte, p int) int {
	for i, c := range text[p:] {
		if !isDigit(c) {
			return p + i
		}
	}
	return len(text)
}

// separator reports whether a byte can stand between the groups of a number.
func separator(c byte) bool {
	switch c {
	case ' ', '-', '.', '/', '(', ')':
		return true
	}
	return false
}

// gap returns the one separator byte between group i-1 and i, or 0 when there
// are several or none.
func (c *chain) gap(i int) byte {
	if i <= 0 || i >= c.n || c.g[i].start-c.g[i-1].end != 1 {
		return 0
	}
	return c.text[c.g[i].start-1]
}

// isFraction reports whether the chain is a decimal fraction.
func (c *chain) isFraction() bool { return c.n == 2 && c.gap(1) == '.' }

// isPartOnly reports whether the chain can only be part of a word: it is a short
// number or a decimal fraction.
func (c *chain) isPartOnly() bool { return c.rest[0] < 6 && c.n < 3 || c.isFraction() }

// begins reports whether a number can begin at group i: no part of a longer
// number stands directly before it.
func (c *chain) begins(i int) bool {
	start := c.g[i].start
	if i > 0 {
		gap := c.text[c.g[i-1].end:start]
		for _, sep := range gap {
			if sep == ' ' || sep == '(' || sep == '/' {
				return true
			}
		}
		return i == c.done && gap[len(gap)-1] != '.'
	}
	return !joinedBefore(c.text, start)
}

// joinedBefore reports whether text[i] continues something longer: the byte
// before it is a word character, a decimal point, or a hyphen after a word with
// digits, as in a GUID.
func joinedBefore(text []byte, i int) bool {
	switch c := byteAt(text, i-1); c {
	case '.':
		return byteAt(text, i-2) > ' '
	case '-':
		for j := i - 2; j >= 0 && i-j <= 16; j-- {
			if isDigit(text[j]) {
				return true
			}
			if !isAlpha(text[j]) {
				break
			}
		}
		return false
	default:
		return isWord(c) && escapeBefore(text, i) == 0
	}
}

// ends reports whether a number can end with group i.
func (c *chain) ends(i int) bool {
	if i+1 == c.n {
		return !joinedAfter(c.text, c.g[i].end)
	}
	gap := c.text[c.g[i].end:c.g[i+1].start]
	for _, sep := range gap {
		if sep == ' ' {
			return true
		}
	}
	return gap[0] == '(' || gap[0] == ')'
}

// joinedAfter reports whether something longer goes on at text[i].
func joinedAfter(text []byte, i int) bool {
	switch c := byteAt(text, i); c {
	case '-', '.':
		next := byteAt(text, i+1)
		return isDigit(next) || isAlpha(next) && hexWordAt(text, i+1)
	default:
		return isWord(c)
	}
}

// hexWordAt reports whether the word at text[i] is made of hexadecimal digits,
// as the parts of a GUID are.
func hexWordAt(text []byte, i int) bool {
	n := 0
	for ; isHex(byteAt(text, i+n)); n++ {
		if n > 16 {
			return true
		}
	}
	return n >= 3 && !isWord(byteAt(text, i+n))
}

// digitsOf returns the digits of group i.
func (c *chain) digitsOf(i int) []byte { return c.text[c.g[i].start:c.g[i].end] }

// count returns the number of digits in groups i to j, j included.
func (c *chain) count(i, j int) int {
	if j+1 < c.n {
		return c.rest[i] - c.rest[j+1]
	}
	return c.rest[i]
}

// digits copies the digits of groups i to j, j included, and returns their
// number; zero when they do not fit.
func (c *chain) digits(i, j int, buf []byte) int {
	n := 0
	for ; i <= j; i++ {
		g := c.g[i]
		if n+g.len() > len(buf) {
			return 0
		}
		n += copy(buf[n:], c.text[g.start:g.end])
	}
	return n
}

// lens reports whether the groups from i on have these lengths and the same
// single separator between them, which it returns.
func (c *chain) lens(i int, lens ...int) (sep byte, ok bool) {
	if i+len(lens) > c.n {
		return 0, false
	}
	for k, n := range lens {
		if c.g[i+k].len() != n {
			return 0, false
		}
		if k == 0 {
			continue
		}
		gap := c.gap(i + k)
		if gap == 0 || k > 1 && gap != sep {
			return 0, false
		}
		sep = gap
	}
	return sep, true
}

// isCounting reports whether groups go up one by one or are all the same.
func (c *chain) isCounting(i, last int) bool {
	for k := i + 1; k <= last; k++ {
		step := num(c.text[c.g[k].start:c.g[k].end]) - num(c.text[c.g[k-1].start:c.g[k-1].end])
		if c.g[k].len() == c.g[k-1].len() && step != 0 && step != 1 {
			return false
		}
	}
	return c.g[i].len() == c.g[last].len()
}

// rowOf reports whether no further number stands one space away from the k
// groups from i on.
func (c *chain) rowOf(i, k int) bool {
	return (i <= c.done || c.gap(i) != ' ') && (i+k == c.n || c.gap(i+k) != ' ')
}

// outsideTable reports whether k groups from i on are not part of a longer row
// of equal groups, such as a table.
func (c *chain) outsideTable(i, k int) bool {
	if c.gap(i+1) != ' ' {
		return true
	}
	size := c.g[i].len()
	if i+k < c.n && c.gap(i+k) == ' ' && c.g[i+k].len() == size {
		return false
	}
	if start := c.g[i].start; i == 0 && byteAt(c.text, start-1) == ' ' && isDigit(byteAt(c.text, start-2)) && isDigit(byteAt(c.text, start-3)) && isAlpha(byteAt(c.text, start-4)) {
		return false // after "RS35 ": the rest of an account number
	}
	if i > c.done && c.gap(i) == ' ' && c.g[i-1].len() == size && (i == c.done+1 || c.gap(i-1) == ' ') {
		return false
	}
	return !c.besideHex(i, i+k-1) // part of a row of hexadecimal numbers
}

// besideHex reports whether a short word of letters and digits stands one space
// away from groups i to j.
func (c *chain) besideHex(i, j int) bool {
	start, end := c.g[i].start, c.g[j].end
	return byteAt(c.text, start-1) == ' ' && digitWord(c.text, start-2, -1) || byteAt(c.text, end) == ' ' && digitWord(c.text, end+1, 1)
}

// digitWord reports whether a word of letters and digits of at most six
// characters stands at text[i], read in the direction of step.
func digitWord(text []byte, i, step int) bool {
	digits, letters := 0, 0
	for ; isAlnum(byteAt(text, i)); i += step {
		if isDigit(text[i]) {
			digits++
		} else {
			letters++
		}
		if digits+letters > 6 {
			return false
		}
	}
	return digits > 0 && letters > 0
}
