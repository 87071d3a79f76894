// SPDX-License-Identifier: Apache-2.0

package pii

import "net/netip"

// ipv4 looks for a dotted quad that begins with group i.
func (r *scan) ipv4(c *chain, i int) int {
	if i+4 > c.n || c.gap(i+1) != '.' || c.gap(i+2) != '.' || c.gap(i+3) != '.' {
		return 0
	}
	var quad [4]byte
	singles := 0  // bytes of one digit, as in section numbers
	small := true // no byte of three digits
	for k := range 4 {
		g := c.g[i+k]
		if g.len() > 3 || g.len() > 1 && c.text[g.start] == '0' {
			return 0
		}
		n := 0
		for _, d := range c.text[g.start:g.end] {
			n = n*10 + int(d-'0')
		}
		if n > 255 {
			return 0
		}
		quad[k] = byte(n)
		if n < 10 {
			singles++
		}
		small = small && n < 100
	}
	start, end := c.g[i].start, c.g[i+3].end
	if !c.ends(i+3) && c.gap(i+4) != '/' && c.gap(i+4) != '-' {
		return 0
	}
	if next := at(c.text, end); next == '.' && isAlnum(at(c.text, end+1)) || next == '-' && isAlpha(at(c.text, end+1)) || next == '+' {
		return 0
	}
	if r.versionBefore(start) {
		return 0
	}
	if public(netip.AddrFrom4(quad)) && !resolver(quad) && !r.bare() && r.numbering(quad, singles, small, start, end) {
		return 0
	}
	r.addAddress(start, end, netip.AddrFrom4(quad))
	return 4
}

// numbering tells whether a quad at text[start:end] is more likely a version, a
// section or an object identifier: all of these count from one, and hardly an
// address does. A port or a prefix length behind says that it is one, and words
// in front do, the more of its bytes are small.
func (r *scan) numbering(quad [4]byte, singles int, small bool, start, end int) bool {
	text := r.text
	if next := at(text, end); (next == ':' || next == '/') && isDigit(at(text, end+1)) {
		return false
	}
	identifier := quad[0] == 2 && quad[1] == 5 || quad[0] == 1 && quad[1] == 3 // of X.500 and ISO (ITU-T X.660)
	if singles == 0 && !identifier {
		return false
	}
	words := r.before(start)
	switch {
	case words&ip.words != 0:
		return false
	case at(text, start-1) == '-' && isAlpha(at(text, start-2)), r.released(start):
		return true
	case singles >= 3, identifier, singles == 2 && small:
		return words&fromWords == 0
	}
	// Between other numbers, as in the path of a drawing.
	return small && at(text, start-1) == ' ' && isDigit(at(text, start-2)) && at(text, end) == ' ' && (isDigit(at(text, end+1)) || at(text, end+1) == '.')
}

// released tells whether a word of versions stands in front of text[start] with
// nothing but a few words between, as in "update V8 to 5.9.211.32". What could
// be a finding is no such word: without it there would be another text.
func (r *scan) released(start int) bool {
	const words, longest = 5, 12
	text := r.text
	for i, n := start, 0; n < words; n++ {
		end := i
		for i > 0 && end-i < 3 && (text[i-1] == ' ' || text[i-1] == '(' || text[i-1] == ':' || text[i-1] == '*' || text[i-1] == ',') {
			i--
		}
		end = i
		digits := 0
		for i > 0 && end-i <= longest && isAlnum(text[i-1]) {
			if i--; isDigit(text[i]) {
				digits++
			}
		}
		if size := end - i; size == 0 || size > longest || digits > 0 && (size > 3 || digits == size) {
			return false
		}
		if topicsOf(text[i:end])&(versionWords|updateWords) != 0 {
			return true
		}
	}
	return false
}

// resolver tells the public name servers with one digit a byte, which stand in
// many texts without a word that says address; other such quads are mostly
// section numbers and versions.
func resolver(q [4]byte) bool {
	switch q {
	case [4]byte{1, 1, 1, 1}, [4]byte{1, 0, 0, 1}, [4]byte{8, 8, 8, 8}, [4]byte{8, 8, 4, 4}, [4]byte{9, 9, 9, 9}:
		return true
	}
	return false
}

// versionBefore tells whether what stands in front of text[start] makes a
// dotted number a version or a section: "==1.2.3.4", "Chrome/1.2.3.4",
// "version 1.2.3.4", "§ 1.2.3.4".
func (r *scan) versionBefore(start int) bool {
	text := r.text
	switch at(text, start-1) {
	case '=':
		switch at(text, start-2) {
		case '=', '<', '>', '~', '!', '^':
			return true
		}
	case '/', '~', '^', '<', '>', '#', '@':
		prev := at(text, start-2)
		c := text[start-1]
		return c == '/' && isAlnum(prev) || c != '/' && (c == '#' || c == '~' || c == '^' || (c == '<' || c == '>') && prev == ' ')
	}
	// The word directly in front, with at most a space and punctuation between.
	i := start
	for i > 0 && start-i < 3 && (text[i-1] == ' ' || text[i-1] == ':' || text[i-1] == '"' || text[i-1] == '=' || text[i-1] == '.') {
		i--
	}
	if i >= 2 && text[i-1] == 0xa7 && text[i-2] == 0xc2 { // §
		return true
	}
	j := i
	for j > 0 && i-j <= maxWord && isLetter(text[j-1]) {
		j--
	}
	return j < i && topicsOf(text[j:i])&versionWords != 0
}
