// SPDX-License-Identifier: Apache-2.0

package pii

import "net/netip"

// parseIPv6 parses the textual forms of RFC 4291, 2.2, without a zone. It is
// netip.ParseAddr for bytes, and never allocates.
func parseIPv6(s []byte) (netip.Addr, bool) {
	var ip [16]byte
	n, gap := 0, -1 // bytes written; where "::" stands
	i := 0
	if len(s) >= 2 && s[0] == ':' && s[1] == ':' {
		gap, i = 0, 2
	}
	for i < len(s) {
		v, end := hexGroup(s, i)
		if byteAt(s, end) == '.' {
			if n > 12 || !parseQuad(s[i:], ip[n:n+4]) {
				return netip.Addr{}, false
			}
			n += 4
			break
		}
		if end == i || end-i > 4 || n == 16 {
			return netip.Addr{}, false
		}
		ip[n], ip[n+1] = byte(v>>8), byte(v)
		n += 2
		if i = end; i == len(s) {
			break
		}
		if i++; s[end] != ':' || i == len(s) {
			return netip.Addr{}, false
		}
		if s[i] == ':' {
			if gap >= 0 {
				return netip.Addr{}, false
			}
			gap = n
			i++
		}
	}
	if (gap < 0) != (n == 16) {
		return netip.Addr{}, false
	}
	if gap >= 0 {
		tail := n - gap
		copy(ip[16-tail:], ip[gap:n])
		clear(ip[gap : 16-tail])
	}
	return netip.AddrFrom16(ip), true
}

// hexGroup reads up to five hexadecimal digits, one more than a group has, and
// returns their value and where they end.
func hexGroup(s []byte, i int) (v, end int) {
	for end = i; end < len(s) && end-i < 5 && isHex(s[end]); end++ {
		v = v<<4 | hexVal(s[end])
	}
	return v, end
}

// parseQuad parses s as a dotted quad.
func parseQuad(s, out []byte) bool {
	i := 0
	for k := range 4 {
		start, v := i, 0
		for i < len(s) && i-start < 4 && isDigit(s[i]) {
			v = v*10 + int(s[i]-'0')
			i++
		}
		if i == start || v > 255 || i-start > 1 && s[start] == '0' {
			return false
		}
		out[k] = byte(v)
		if k < 3 {
			if i == len(s) || s[i] != '.' {
				return false
			}
			i++
		}
	}
	return i == len(s)
}
