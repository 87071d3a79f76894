// SPDX-License-Identifier: Apache-2.0

package pii

import "encoding/binary"

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
	rest [maxGroups]int // digits from this group to the end
	n    int
	done int // groups before this one belong to a finding

	topics context // see around
	asked  bool    // topics are known
}

// number looks at a run of digits that begins at text[p].
func (r *scan) number(p int) {
	text := r.text
	if p > 0 && isAlpha(text[p-1]) {
		if p >= 8 && allAlnum(binary.LittleEndian.Uint64(text[p-8:])) {
			return // within a longer word, as most digits of encoded data are
		}
		if escapeBefore(text, p) == 0 {
			r.lettered(p)
			return
		}
	}
	if p > 0 && toldBehind[text[p-1]] && r.on[recAssignment] && couldBeTold(text, p) {
		r.toldPassword(p)
	}
	if p < r.numDone {
		return
	}
	end := p + 1
	for end < len(text) && isDigit(text[end]) {
		end++
	}
	next := at(text, end)
	if end-p < 6 && !separator(next) && !isAlpha(next) && (next != ',' || !isAlpha(at(text, p-2))) {
		r.numDone = end
		if end-p >= 5 && !inWord(text, p) {
			r.document(p)
		}
		return // too little for anything, and nothing can follow
	}
	c := &r.chain
	c.text, c.n, c.done, c.asked = text, 0, 0, false
	c.parse(p, end)
	r.numDone = c.g[c.n-1].end
	r.work += r.numDone - p
	if r.seen(p, r.numDone) {
		return
	}
	// Short numbers and decimal fractions are nothing but parts of words.
	fraction := c.n == 2 && c.gap(1) == '.'
	if (fraction || c.rest[0] < 6 && c.n < 3) && !r.besideWord(p, r.numDone) {
		return
	}
	covered := p // by hardware addresses, as far as they follow on each other
	for i := 0; i < c.n; i++ {
		if end := r.figureWord(c.g[i]); c.g[i].start <= covered {
			covered = max(covered, end)
		}
	}
	if fraction || covered >= r.numDone {
		return
	}
	for i := 0; i < c.n; {
		r.work += workGroup
		n := r.groupsAt(c, i)
		i += max(1, n)
		if n > 0 {
			c.done = i
		}
	}
}

// around returns the topics of the words around the chain: all that the words
// in front of any of its groups, and behind, can speak of. What needs a word
// that is not there need not look at the groups.
func (r *scan) around(c *chain) context {
	if !c.asked {
		c.topics, c.asked = r.before(c.g[0].start)|r.after(c.g[c.n-1].end), true
	}
	return c.topics
}

// besideWord tells whether letters stand close enough to text[p:end] for a date
// with the name of a month, or for a word to begin with the digits.
func (r *scan) besideWord(p, end int) bool {
	return isAlpha(at(r.text, p-2)) || isAlpha(at(r.text, p-3)) || isAlpha(at(r.text, end)) || isAlpha(at(r.text, end+1)) || isAlpha(at(r.text, end+2))
}

// figureWord looks at a group as the beginning of a word: the number of a
// document, a hardware address, a code. It returns the end of the hardware
// address, or 0.
func (r *scan) figureWord(g group) int {
	if p := g.start; p > 0 && isWord(r.text[p-1]) && escapeBefore(r.text, p) == 0 {
		return 0 // no word begins here
	}
	if g.len() >= 4 {
		r.document(g.start)
	}
	end := 0
	if r.dotted(g.start) {
		end = g.start + dottedMAC
	}
	if isAlpha(at(r.text, g.end)) {
		r.word(g.start)
	}
	return end
}

// parse collects the groups from the run of digits text[p:end] on.
func (c *chain) parse(p, end int) {
	text := c.text
	for {
		c.g[c.n] = group{p, end}
		c.n++
		if c.n == maxGroups {
			break
		}
		p = end
		for p < len(text) && p-end < maxGap && separator(text[p]) {
			p++
		}
		if p == end || p == len(text) || !isDigit(text[p]) {
			break
		}
		end = p + 1
		for end < len(text) && isDigit(text[end]) {
			end++
		}
	}
	total := 0
	for i := c.n - 1; i >= 0; i-- {
		total += c.g[i].len()
		c.rest[i] = total
	}
}

// separator tells what stands between the groups of a number.
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
		for _, sep := range gap {
			if sep == ' ' || sep == '(' || sep == '/' {
				return true
			}
		}
		return i == c.done && gap[len(gap)-1] != '.'
	}
	return !joinedBefore(c.text, start)
}

// joinedBefore tells whether what stands in front of text[i] makes it the rest
// of something longer: a word character, a decimal point, or a hyphen or dot
// behind a word that holds digits, as in a GUID.
func joinedBefore(text []byte, i int) bool {
	switch c := at(text, i-1); c {
	case '.':
		return at(text, i-2) > ' '
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

// ends tells whether a number can end with group i.
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

// joinedAfter tells whether what stands behind text[:i] makes it the beginning
// of something longer.
func joinedAfter(text []byte, i int) bool {
	switch c := at(text, i); c {
	case '-', '.':
		next := at(text, i+1)
		return isDigit(next) || isAlpha(next) && hexWordAt(text, i+1)
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
// the one found takes, zero when none is found. The length of the first group
// and the digits there are rule most kinds out.
func (r *scan) groupsAt(c *chain, i int) int {
	if !c.begins(i) {
		return 0
	}
	first, rest := c.g[i].len(), c.rest[i]
	if at(c.text, c.g[i].start-1) == '+' {
		if r.on[recPhone] && rest >= 7 {
			return r.phone(c, i)
		}
		return 0
	}
	found := 0
	if rest >= 12 && r.on[recCard] {
		found = r.card(c, i)
	}
	if found == 0 && first <= 3 && c.gap(i+1) == '.' && (r.on[recIP] || r.on[recIPPrivate]) {
		found = r.ipv4(c, i)
	}
	if found == 0 && rest >= 6 {
		found = r.spaced(c, i)
	}
	if found == 0 && rest >= 8 {
		found = r.national(c, i)
	}
	if found == 0 && rest >= 9 && (first == 3 || first == 5 || first == 9) {
		found = r.ssn(c, i)
	}
	if found == 0 && r.on[recBirth] && (first <= 2 || first == 4) {
		found = r.birthday(c, i)
	}
	if found == 0 && rest >= 6 && r.on[recPhone] {
		found = r.phone(c, i)
	}
	return found
}

// lettered looks at digits with a letter directly in front, at text[p]: the
// numbers that begin with letters.
func (r *scan) lettered(p int) {
	start := p - 1
	for start > 0 && p-start <= 6 && isAlpha(r.text[start-1]) && escapeBefore(r.text, start) == 0 {
		start--
	}
	if (p-start > 6 || start > 0 && toldBehind[r.text[start-1]] && couldBeTold(r.text, start)) && r.on[recAssignment] {
		r.toldPassword(p)
	}
	if inWord(r.text, start) {
		return
	}
	if p-start == 2 && r.on[recIBAN] {
		r.iban(start, p)
	}
	letters, digits := p-start, 1
	for digits < 7 && isDigit(at(r.text, p+digits)) {
		digits++
	}
	if letters <= 3 {
		r.document(start)
		r.dotted(start)
	}
	// The codes of the table: how many digits follow how many letters.
	if digits >= 6 && letters != 3 || letters == 5 && digits >= 4 || letters == 6 && digits >= 2 {
		r.word(start)
	}
}

// dotted looks at text[start:] for a hardware address in groups of four.
func (r *scan) dotted(start int) bool {
	return r.on[recMAC] && at(r.text, start+4) == '.' && r.macDotted(start)
}
