// SPDX-License-Identifier: Apache-2.0

package pii

import "net/netip"

// ipv4 looks for a dotted quad that begins with group i.
func (r *scan) ipv4(c *chain, i int) int {
	quad, ok := c.quad(i)
	if !ok {
		return 0
	}
	start, end := c.g[i].start, c.g[i+3].end
	if c.quadGoesOn(i) || r.versionBefore(start) {
		return 0
	}
	address := netip.AddrFrom4(quad)
	if public(address) && !publicResolver(quad) && !r.numbersOnly() && r.looksLikeVersion(quad, start, end) {
		return 0
	}
	r.addAddress(start, end, address)
	return 4
}

// quad reads four groups from i on with dots between, each a byte without
// leading zeros.
func (c *chain) quad(i int) (quad [4]byte, ok bool) {
	if i+4 > c.n || c.gap(i+1) != '.' || c.gap(i+2) != '.' || c.gap(i+3) != '.' {
		return quad, false
	}
	for k := range quad {
		d := c.digitsOf(i + k)
		if len(d) > 3 || len(d) > 1 && d[0] == '0' || num(d) > 255 {
			return quad, false
		}
		quad[k] = byte(num(d))
	}
	return quad, true
}

// quadGoesOn reports whether something longer goes on after the quad from group
// i on. A prefix length or a range does not count.
func (c *chain) quadGoesOn(i int) bool {
	if !c.ends(i+3) && c.gap(i+4) != '/' && c.gap(i+4) != '-' {
		return true
	}
	end := c.g[i+3].end
	switch beyond := byteAt(c.text, end+1); byteAt(c.text, end) {
	case '.':
		return isAlnum(beyond)
	case '-':
		return isAlpha(beyond)
	case '+':
		return true
	}
	return false
}

// looksLikeVersion reports whether a quad at text[start:end] is more likely a
// version, a section or an object identifier. Those count from one; addresses
// hardly do. A port or prefix length after it makes it an address; so do words
// before it, the more easily the larger its bytes are.
func (r *scan) looksLikeVersion(quad [4]byte, start, end int) bool {
	text := r.text
	singles := 0  // bytes of one digit, as in section numbers
	small := true // no byte of three digits
	for _, b := range quad {
		if b < 10 {
			singles++
		}
		small = small && b < 100
	}
	if next := byteAt(text, end); (next == ':' || next == '/') && isDigit(byteAt(text, end+1)) {
		return false
	}
	identifier := quad[0] == 2 && quad[1] == 5 || quad[0] == 1 && quad[1] == 3 // of X.500 and ISO (ITU-T X.660)
	if singles == 0 && !identifier {
		return false
	}
	words := r.topicsBefore(start)
	switch {
	case words&ip.words != 0:
		return false
	case byteAt(text, start-1) == '-' && isAlpha(byteAt(text, start-2)), r.versionWordBefore(start):
		return true
	case singles >= 3, identifier, singles == 2 && small:
		return words&fromWords == 0
	}
	return small && betweenNumbers(text, start, end)
}

// betweenNumbers reports whether other numbers stand a space away from
// text[start:end] on both sides, as in the path of a drawing.
func betweenNumbers(text []byte, start, end int) bool {
	beyond := byteAt(text, end+1)
	return byteAt(text, start-1) == ' ' && isDigit(byteAt(text, start-2)) && byteAt(text, end) == ' ' && (isDigit(beyond) || beyond == '.')
}

// versionWordBefore reports whether a word for versions stands before
// text[start] with only a few words between, as in "update V8 to 5.9.211.32". A
// word that could itself be a finding ends the search: scrubbed, it would be
// another text.
func (r *scan) versionWordBefore(start int) bool {
	const words, longest = 5, 12
	text := r.text
	for i, n := start, 0; n < words; n++ {
		end := i
		for i > 0 && end-i < 3 && betweenWords(text[i-1]) {
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

// betweenWords reports whether a byte can separate the words before a version.
func betweenWords(c byte) bool {
	switch c {
	case ' ', '(', ':', '*', ',':
		return true
	}
	return false
}

// publicResolver reports whether a quad is a well-known public name server.
// Many texts name those without a word for address; other such quads are mostly
// sections and versions.
func publicResolver(q [4]byte) bool {
	switch q {
	case [4]byte{1, 1, 1, 1}, [4]byte{1, 0, 0, 1}, [4]byte{8, 8, 8, 8}, [4]byte{8, 8, 4, 4}, [4]byte{9, 9, 9, 9}:
		return true
	}
	return false
}

// versionBefore reports whether the text before text[start] makes a dotted
// number a version or a section: "==1.2.3.4", "Chrome/1.2.3.4", "version
// 1.2.3.4", "§ 1.2.3.4".
func (r *scan) versionBefore(start int) bool {
	text := r.text
	if versionSign(byteAt(text, start-2), byteAt(text, start-1)) {
		return true
	}
	// The word directly before it, with at most a space and punctuation between.
	i := start
	for i > 0 && start-i < 3 && betweenVersion(text[i-1]) {
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

// versionSign reports whether the two bytes before a number make it a version:
// "==", "e/", " >", "#".
func versionSign(before, sign byte) bool {
	switch sign {
	case '=':
		switch before {
		case '=', '<', '>', '~', '!', '^':
			return true
		}
	case '/':
		return isAlnum(before)
	case '<', '>':
		return before == ' '
	case '#', '~', '^':
		return true
	}
	return false
}

// betweenVersion reports whether a byte can separate the word "version" from
// its number.
func betweenVersion(c byte) bool {
	switch c {
	case ' ', ':', '"', '=', '.':
		return true
	}
	return false
}
