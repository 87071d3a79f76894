// SPDX-License-Identifier: Apache-2.0

package pii

// validNHS: UK National Health Service number: mod 11 (NHS Data Dictionary).
func validNHS(d []byte) bool {
	check := 11 - weighted(d, 10, 9, 8, 7, 6, 5, 4, 3, 2)%11
	return check != 10 && check%11 == int(d[9]-'0')
}
