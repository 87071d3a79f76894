// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

// TestParseIPv6 compares the parser with that of net/netip.
func TestParseIPv6(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2, 9))
	parts := []string{":", ":", "::", "0", "1", "ffff", "2001", "db8", "12345", "abc", "1.2.3.4", "256.1.1.1", "01.2.3.4", ".", "%1"}
	valid := 0
	for range 200000 {
		var s string
		for range 1 + rnd.IntN(16) {
			s += parts[rnd.IntN(len(parts))]
		}
		want, err := netip.ParseAddr(s)
		ok := err == nil && want.Is6() && want.Zone() == ""
		got, gotOK := parseIPv6([]byte(s))
		if gotOK != ok || ok && got != want {
			t.Fatalf("%q: got %v, %v; want %v, %v", s, got, gotOK, want, err)
		}
		if ok {
			valid++
		}
	}
	if valid < 1000 {
		t.Errorf("only %d addresses among the texts", valid)
	}
}
