// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"strings"
	"testing"
)

func TestKnownTLD(t *testing.T) {
	for label, want := range map[string]bool{
		"com": true, "COM": true, "de": true, "museum": true, "xn--p1ai": true, "公司": true, "technology": true,
		"T": false, "notatld": false, "weight": false, "3": false, "": false, "xn--": false, "local": false, "localhost": false,
		strings.Repeat("a", 64): false,
	} {
		if got := knownTLD([]byte(label)); got != want {
			t.Errorf("%q: %v", label, got)
		}
	}
	for a := byte('a'); a <= 'z'; a++ {
		for b := byte('a'); b <= 'z'; b++ {
			if _, want := tlds[string([]byte{a, b})]; knownTLD([]byte{a, b &^ 0x20}) != want {
				t.Errorf("%c%c: %v", a, b, !want)
			}
		}
	}
	for tld := range tlds {
		if len(tld) > maxTLD {
			t.Errorf("%q is longer than maxTLD", tld)
		}
	}
}
