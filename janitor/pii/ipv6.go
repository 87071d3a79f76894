// SPDX-License-Identifier: Apache-2.0

package pii

import "net/netip"

// maxIPv6 is the length of the longest textual form, with an embedded IPv4
// address (RFC 4291, 2.2).
const maxIPv6 = 45

// ipv6 looks at the colon at text[i] as part of an IPv6 address. The stretch
// of hexadecimal digits, colons and dots around it is settled as a whole, so
// a long one is walked once.
func (r *scan) ipv6(i int) {
	if i < r.hexDone {
		return
	}
	text := r.text
	start := i
	for start > r.hexDone && i-start <= 4 && isHex(text[start-1]) && escapeBefore(text, start) == 0 {
		start--
	}
	end, colons, digits, double := start, 0, 0, false
	for end < len(text) {
		c := text[end]
		switch {
		case c == ':':
			colons++
			double = double || at(text, end+1) == ':'
		case isDigit(c):
			digits++
		case isHex(c):
		case c == '.' && isDigit(at(text, end+1)) && isDigit(at(text, end-1)):
		default:
			goto whole
		}
		end++
	}
whole:
	r.hexDone = end
	r.work += end - start
	if r.finds(&mac) && !inWord(text, start) && !isWord(at(text, end)) && r.macPairs(start, end) {
		return
	}
	if colons < 2 || end-start > maxIPv6+2 || digits == 0 {
		return
	}
	if c := at(text, start-1); inWord(text, start) || c == '.' || c == '-' {
		return
	}
	if c := at(text, end); isWord(c) {
		return
	}
	for end > start && text[end-1] == ':' && at(text, end-2) != ':' || text[end-1] == '.' {
		end--
	}
	if colons < 7 && !double {
		return
	}
	addr, ok := parseIPv6(text[start:end])
	if !ok {
		return
	}
	if double && !r.likelyIPv6(addr, colons) || colons <= 3 && text[end-1] == ':' && at(text, end) == '/' {
		return
	}
	r.addAddress(start, end, addr)
}

// likelyIPv6 tells shortened addresses from what else has a double colon, such
// as scopes in program text: it has enough groups, or is of a range in use.
func (r *scan) likelyIPv6(a netip.Addr, colons int) bool {
	b := a.As16()
	return colons >= 4 || b[0]&0xe0 == 0x20 || a.Is4In6() || r.bare() || !public(a)
}
