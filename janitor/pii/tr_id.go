// SPDX-License-Identifier: Apache-2.0

package pii

// validTRID: Turkish identity number: two check digits.
func validTRID(d []byte) bool {
	if d[0] == '0' {
		return false
	}
	odd := weighted(d, 1, 0, 1, 0, 1, 0, 1, 0, 1)
	even := weighted(d, 0, 1, 0, 1, 0, 1, 0, 1)
	return ((odd*7-even)%10+10)%10 == int(d[9]-'0') && (odd+even+int(d[9]-'0'))%10 == int(d[10]-'0')
}
