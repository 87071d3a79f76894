// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

// TestPublicLikePrefixes compares the ranges with net/netip, at their edges and
// at random.
func TestPublicLikePrefixes(t *testing.T) {
	var prefixes []netip.Prefix
	for _, p := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
		"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
		"198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
		"::/128", "::1/128", "64:ff9b:1::/48", "100::/64", "2001:2::/48", "2001:db8::/32", "3fff::/20",
		"fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
	} {
		prefixes = append(prefixes, netip.MustParsePrefix(p))
	}
	want := func(a netip.Addr) bool {
		if b := a.As16(); a.Is4In6() {
			a = a.Unmap()
		} else if a.Is6() && ([12]byte(b[:12]) == ([12]byte{}) || [12]byte(b[:12]) == ([12]byte{0, 0x64, 0xff, 0x9b})) {
			a = netip.AddrFrom4([4]byte(b[12:]))
		}
		for _, p := range prefixes {
			if p.Contains(a) {
				return false
			}
		}
		return true
	}
	check := func(a netip.Addr) {
		if got := public(a); got != want(a) {
			t.Fatalf("%v: %v", a, got)
		}
	}
	rnd := rand.New(rand.NewPCG(8, 8))
	for _, p := range prefixes {
		for _, a := range []netip.Addr{p.Addr(), p.Addr().Prev(), p.Addr().Next()} {
			if a.IsValid() {
				check(a)
			}
		}
		for range 2000 {
			b := p.Addr().AsSlice()
			for k := range b {
				if rnd.IntN(4) == 0 {
					b[k] ^= 1 << rnd.IntN(8)
				}
			}
			a, _ := netip.AddrFromSlice(b)
			check(a)
			check(netip.AddrFrom16(a.As16()))
			c := netip.AddrFrom16(a.As16()).As16()
			copy(c[:], []byte{0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0}[:rnd.IntN(13)])
			check(netip.AddrFrom16(c))
		}
	}
}
