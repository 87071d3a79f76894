// SPDX-License-Identifier: Apache-2.0

package pii

import "testing"

func TestMAC(t *testing.T) {
	checkFindings(t, []finding{
		{"ether 00:1a:2b:3c:4d:5e txqueuelen", []string{"MAC:00:1a:2b:3c:4d:5e"}},
		{"AA-BB-CC-DD-EE-FF", []string{"MAC:AA-BB-CC-DD-EE-FF"}},
		{"02:00:5e:10:00:00:00:01", []string{"MAC:02:00:5e:10:00:00:00:01"}},
		{"0012.3456.789a", []string{"MAC:0012.3456.789a"}},
		{"ff:ff:ff:ff:ff:ff 00:00:00:00:00:00", nil},
		{"16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48", nil}, // a fingerprint
		{"12-34-56-78-90-12 2024-01-02-03-04-05", nil},
		{"00:1a:2b:3c:4d 00:1a:2b:3c:4d:5g", nil},
	})
}
