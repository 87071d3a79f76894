// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"encoding/binary"
	"net/netip"
)

// block is a range of addresses: those whose first bits are these.
type block struct{ bits, mask uint64 }

// special4 and special6 are the blocks that are not public unicast addresses:
// the IANA IPv4 and IPv6 special-purpose address registries (RFC 6890) and
// multicast. Those of IPv6 are compared by the first half of the address;
// "::" and "::1" end up as IPv4 addresses inside an IPv6 one.
var special4, special6 = func() (four, six []block) {
	for _, p := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
		"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
		"198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
		"64:ff9b:1::/48", "100::/64", "2001:2::/48", "2001:db8::/32", "3fff::/20",
		"fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
	} {
		prefix := netip.MustParsePrefix(p)
		if a := prefix.Addr(); a.Is4() {
			b := a.As4()
			four = append(four, block{uint64(binary.BigEndian.Uint32(b[:])), 0xffffffff << (32 - prefix.Bits())})
		} else {
			b := a.As16()
			six = append(six, block{binary.BigEndian.Uint64(b[:]), ^uint64(0) << (64 - prefix.Bits())})
		}
	}
	return four, six
}()

// in tells whether the first bits of an address are those of one of blocks.
func in(blocks []block, first uint64) bool {
	for _, b := range blocks {
		if first&b.mask == b.bits {
			return true
		}
	}
	return false
}

// public tells whether the address is public unicast. An IPv4 address inside
// an IPv6 one (mapped, compatible, NAT64) is judged by itself.
func public(a netip.Addr) bool {
	if a.Is4() {
		b := a.As4()
		return !in(special4, uint64(binary.BigEndian.Uint32(b[:])))
	}
	b := a.As16()
	high := binary.BigEndian.Uint64(b[:])
	last := uint64(binary.BigEndian.Uint32(b[12:]))
	switch middle := binary.BigEndian.Uint32(b[8:]); {
	case high == 0 && middle == 0xffff:
		return !in(special4, last)
	case middle == 0 && (high == 0 || high == 0x0064ff9b<<32):
		return !in(special4, last) // 0.0.0.0/8 is among them
	}
	return !in(special6, high)
}

// addAddress records the address if addresses of its kind are asked for.
func (r *scan) addAddress(start, end int, a netip.Addr) {
	id := recIPPrivate
	if public(a) {
		id = recIP
	}
	if r.on[id] {
		r.add(start, end, EntityIP)
	}
}

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
	case words&ctxIP != 0:
		return false
	case at(text, start-1) == '-' && isAlpha(at(text, start-2)), r.released(start):
		return true
	case singles >= 3, identifier, singles == 2 && small:
		return words&ctxFrom == 0
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
		if topicsOf(text[i:end])&(ctxVersion|ctxUpdate) != 0 {
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
	return j < i && topicsOf(text[j:i])&ctxVersion != 0
}
