// SPDX-License-Identifier: Apache-2.0

package pii

import "net/netip"

// maxIPv6 is the length of the longest textual form, with an embedded IPv4
// address (RFC 4291, 2.2).
const maxIPv6 = 45

// hexCount describes a stretch of hexadecimal digits, colons, and dots between
// digits.
type hexCount struct {
	colons, digits int
	double         bool // two colons side by side
}

// hexStretch walks the stretch around the colon at text[i].
func (r *scan) hexStretch(i int) (start, end int, n hexCount) {
	text := r.text
	start = i
	for start > r.hexDone && i-start <= 4 && isHex(text[start-1]) && escapeBefore(text, start) == 0 {
		start--
	}
	for end = start; end < len(text); end++ {
		c := text[end]
		if c == ':' {
			n.colons++
			n.double = n.double || byteAt(text, end+1) == ':'
		} else if isDigit(c) {
			n.digits++
		} else if !isHex(c) && (c != '.' || !isDigit(byteAt(text, end+1)) || !isDigit(byteAt(text, end-1))) {
			break
		}
	}
	return start, end, n
}

// ipv6 looks at the colon at text[i] as part of an IPv6 address or a hardware
// address. The stretch around it is settled as a whole, up to hexDone, so a long
// one is walked once.
func (r *scan) ipv6(i int) {
	text := r.text
	start, end, n := r.hexStretch(i)
	r.hexDone = end
	r.work += end - start
	if n.colons < 2 {
		return // neither kind has so few
	}
	if isWord(byteAt(text, end)) || inWord(text, start) || r.finds(&mac) && r.macPairs(start, end) || !n.couldBeIPv6(end-start) {
		return
	}
	if c := byteAt(text, start-1); c == '.' || c == '-' {
		return
	}
	end = trimHex(text, start, end)
	addr, ok := parseIPv6(text[start:end])
	if !ok || n.double && !r.likelyIPv6(addr, n.colons) || n.colons <= 3 && text[end-1] == ':' && byteAt(text, end) == '/' {
		return
	}
	r.addAddress(start, end, addr)
}

// trimHex returns the end of a stretch without the punctuation after it.
func trimHex(text []byte, start, end int) int {
	for end > start && text[end-1] == ':' && byteAt(text, end-2) != ':' || text[end-1] == '.' {
		end--
	}
	return end
}

// couldBeIPv6 reports whether a stretch of a size has the colons and the length
// of an address.
func (n hexCount) couldBeIPv6(size int) bool {
	return n.digits > 0 && size <= maxIPv6+2 && (n.colons >= 7 || n.double && n.colons >= 2)
}

// likelyIPv6 reports whether a shortened address has enough groups or is of a
// range in use. Scopes in program text have double colons too.
func (r *scan) likelyIPv6(a netip.Addr, colons int) bool {
	b := a.As16()
	return colons >= 4 || b[0]&0xe0 == 0x20 || a.Is4In6() || r.numbersOnly() || !public(a)
}
