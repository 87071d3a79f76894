// SPDX-License-Identifier: Apache-2.0

package pii

import "net/netip"

// maxIPv6 is the length of the longest textual form, with an embedded IPv4
// address (RFC 4291, 2.2).
const maxIPv6 = 45

// hexStretch is a stretch of hexadecimal digits, colons, and dots between
// digits.
type hexStretch struct {
	start, end     int
	colons, digits int
	double         bool // two colons side by side
}

// hexStretch walks the stretch around the colon at text[i].
func (r *scan) hexStretch(i int) hexStretch {
	text := r.text
	start := i
	for start > r.hexDone && i-start <= 4 && isHex(text[start-1]) && escapeBefore(text, start) == 0 {
		start--
	}
	end, colons, digits, double := start, 0, 0, false
	for ; end < len(text); end++ {
		c := text[end]
		if isDigit(c) {
			digits++
		} else if c == ':' {
			colons++
			double = double || byteAt(text, end+1) == ':'
		} else if !isHex(c) && (c != '.' || !isDigit(byteAt(text, end+1)) || !isDigit(byteAt(text, end-1))) {
			break
		}
	}
	return hexStretch{start, end, colons, digits, double}
}

// ipv6 looks at the colon at text[i] as part of an IPv6 address or a hardware
// address. The stretch around it is settled as a whole, so a long one is walked
// once.
func (r *scan) ipv6(i int) {
	if i < r.hexDone {
		return
	}
	text := r.text
	s := r.hexStretch(i)
	r.hexDone = s.end
	r.work += s.end - s.start
	if isWord(byteAt(text, s.end)) || inWord(text, s.start) || r.finds(&mac) && r.macPairs(s.start, s.end) || !s.couldBeIPv6() {
		return
	}
	if c := byteAt(text, s.start-1); c == '.' || c == '-' {
		return
	}
	end := s.trimmed(text)
	addr, ok := parseIPv6(text[s.start:end])
	if !ok || s.double && !r.likelyIPv6(addr, s.colons) || s.colons <= 3 && text[end-1] == ':' && byteAt(text, end) == '/' {
		return
	}
	r.addAddress(s.start, end, addr)
}

// trimmed returns the end of the stretch without the punctuation after it.
func (s *hexStretch) trimmed(text []byte) int {
	end := s.end
	for end > s.start && text[end-1] == ':' && byteAt(text, end-2) != ':' || text[end-1] == '.' {
		end--
	}
	return end
}

// couldBeIPv6 reports whether the stretch has the colons and the length of an
// address.
func (s *hexStretch) couldBeIPv6() bool {
	return s.digits > 0 && s.end-s.start <= maxIPv6+2 && (s.colons >= 7 || s.double && s.colons >= 2)
}

// likelyIPv6 reports whether a shortened address has enough groups or is of a
// range in use. Scopes in program text have double colons too.
func (r *scan) likelyIPv6(a netip.Addr, colons int) bool {
	b := a.As16()
	return colons >= 4 || b[0]&0xe0 == 0x20 || a.Is4In6() || r.numbersOnly() || !public(a)
}
