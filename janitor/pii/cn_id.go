// SPDX-License-Identifier: Apache-2.0

package pii

// validCNID: Chinese resident identity number: region, date, ISO/IEC 7064 MOD
// 11-2 (GB 11643).
func validCNID(w []byte) bool {
	if w[0] == '0' || w[0] == '9' || num(w[6:8]) < 18 || num(w[6:8]) > 20 || !validDate(num(w[6:10]), num(w[10:12]), num(w[12:14])) {
		return false
	}
	sum := weighted(w, 7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
	return "10X98765432"[sum%11] == w[17]
}
