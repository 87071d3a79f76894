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

// chain is a stretch of digit groups with at most a few separators between
// each: every number that is written with digits alone lies in one.
type chain struct {
	text []byte
	g    [maxGroups]group
	n    int
}

// number looks at a run of digits that begins at text[p].
func (r *scan) number(p int) {
	if p > 0 {
		if c := r.text[p-1]; isAlpha(c) {
			r.lettered(p)
			return
		}
	}
	if p < r.numDone {
		return
	}
	c := &r.chain
	c.text, c.n = r.text, 0
	c.parse(p)
	r.numDone = c.g[c.n-1].end
	if r.begun(p) {
		r.document(p)
		r.dotted(p)
		if isAlpha(at(r.text, c.g[0].end)) {
			r.word(p)
		}
	}
	for i := 0; i < c.n; {
		i += max(1, r.groupsAt(c, i))
	}
}

// begun tells whether a word begins at text[p].
func (r *scan) begun(p int) bool { return p == 0 || !isWord(r.text[p-1]) }

// parse collects the groups from text[p] on.
func (c *chain) parse(p int) {
	text := c.text
	for {
		end := p
		for end < len(text) && isDigit(text[end]) {
			end++
		}
		c.g[c.n] = group{p, end}
		c.n++
		if c.n == maxGroups {
			return
		}
		p = end
		for p < len(text) && p-end < maxGap && separator(text[p]) {
			p++
		}
		if p == end || p == len(text) || !isDigit(text[p]) {
			return
		}
	}
}

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

// begins tells whether a number can begin at group i: nothing that belongs to
// it stands directly in front.
func (c *chain) begins(i int) bool {
	start := c.g[i].start
	if i > 0 {
		gap := c.text[c.g[i-1].end:start]
		last := gap[len(gap)-1]
		return last == ' ' || last == '(' || last == '/'
	}
	return !joinedBefore(c.text, start)
}

// joinedBefore tells whether what stands in front of text[i] makes it the rest
// of something longer: a word character, a decimal point, or a hyphen or dot
// behind a word that holds digits, as in a GUID.
func joinedBefore(text []byte, i int) bool {
	switch c := at(text, i-1); c {
	case '-', '.':
		for j := i - 2; j >= 0 && i-j <= 16; j-- {
			if isDigit(text[j]) {
				return true
			}
			if !isAlpha(text[j]) {
				return c == '.' && j == i-2 && text[j] != ' '
			}
		}
		return c == '.'
	case ']':
		return closesPlaceholder(text, i)
	default:
		return isWord(c) || c >= 0x80 && letterBefore(text, i) > 0 && false
	}
}

// ends tells whether a number can end with group i.
func (c *chain) ends(i int) bool {
	if i+1 < c.n {
		gap := c.text[c.g[i].end:c.g[i+1].start]
		switch gap[0] {
		case '-', '.', '/':
			return len(gap) > 1 && gap[1] == ' '
		}
		return true
	}
	return !joinedAfter(c.text, c.g[i].end)
}

// joinedAfter tells whether what stands behind text[:i] makes it the beginning
// of something longer.
func joinedAfter(text []byte, i int) bool {
	switch c := at(text, i); c {
	case '-', '.':
		next := at(text, i+1)
		return isDigit(next) || isAlpha(next) && hexWordAt(text, i+1)
	case '[':
		return placeholder(text[i:]) > 0
	default:
		return isWord(c)
	}
}

// hexWordAt tells whether the word at text[i] is made of hexadecimal digits,
// as the parts of a GUID are.
func hexWordAt(text []byte, i int) bool {
	n := 0
	for ; isHex(at(text, i+n)); n++ {
		if n > 16 {
			return true
		}
	}
	return n >= 3 && !isWord(at(text, i+n))
}

// digits copies the digits of groups i to j, j included, and returns how many
// there are; zero when they do not fit.
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

// lens tells whether the groups from i on have these lengths and the same
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

// groupsAt tries every kind of number at group i and returns how many groups
// the one found takes, zero when none is found.
func (r *scan) groupsAt(c *chain, i int) int {
	if !c.begins(i) {
		return 0
	}
	if at(c.text, c.g[i].start-1) == '+' {
		if r.on[recPhone] {
			return r.phone(c, i)
		}
		return 0
	}
	if r.on[recCard] {
		if n := r.card(c, i); n > 0 {
			return n
		}
	}
	if r.on[recIP] || r.on[recIPPrivate] {
		if n := r.ipv4(c, i); n > 0 {
			return n
		}
	}
	if n := r.national(c, i); n > 0 {
		return n
	}
	if r.on[recSSN] || r.on[recITIN] {
		if n := r.ssn(c, i); n > 0 {
			return n
		}
	}
	if n := r.spaced(c, i); n > 0 {
		return n
	}
	if r.on[recBirth] {
		if n := r.birthday(c, i); n > 0 {
			return n
		}
	}
	if r.on[recPhone] {
		if n := r.phone(c, i); n > 0 {
			return n
		}
	}
	return 0
}

// lettered looks at digits with a letter directly in front, at text[p]: the
// numbers that begin with letters.
func (r *scan) lettered(p int) {
	start := p - 1
	for start > 0 && p-start <= 6 && isAlpha(r.text[start-1]) {
		start--
	}
	if isWord(at(r.text, start-1)) {
		return
	}
	if p-start == 2 && r.on[recIBAN] {
		r.iban(start, p)
	}
	if p-start <= 3 {
		r.document(start)
		if p-start <= 2 || r.on[recMAC] {
			r.dotted(start)
		}
	}
	r.word(start)
}

// dotted looks at text[start:] for a hardware address in groups of four.
func (r *scan) dotted(start int) {
	if r.on[recMAC] && at(r.text, start+4) == '.' {
		r.macDotted(start)
	}
}
