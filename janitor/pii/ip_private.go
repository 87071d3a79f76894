// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"encoding/binary"
	"net/netip"
)

var ipPrivate = builtin{
	name:    "ip_private",
	entity:  EntityIP,
	off:     true,
	doc:     "IPv4 and IPv6 addresses of every other kind: private, loopback, link-local, documentation, multicast.",
	match:   []string{"«10.1.2.3» and «fe80::1»"},
	noMatch: []string{"version 10.1.2.3"},
}

// block is a range of addresses by its first bits.
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

// in reports whether an address with these first bits lies in one of blocks.
func in(blocks []block, first uint64) bool {
	for _, b := range blocks {
		if first&b.mask == b.bits {
			return true
		}
	}
	return false
}

// public reports whether the address is public unicast. An IPv4 address inside
// an IPv6 one (mapped, compatible, NAT64) is judged alone.
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
