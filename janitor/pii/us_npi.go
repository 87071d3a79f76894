// SPDX-License-Identifier: Apache-2.0

package pii

// validNPI: US National Provider Identifier: 10 digits, first 1 or 2, Luhn
// with the prefix 80840 (45 CFR 162.406).
func validNPI(d []byte) bool {
	if d[0] != '1' && d[0] != '2' {
		return false
	}
	var buf [15]byte
	copy(buf[:], "80840")
	copy(buf[5:], d)
	return luhn(buf[:])
}
