// SPDX-License-Identifier: Apache-2.0

package pii

// validFIN: Singapore NRIC and FIN: weights 2-7-6-5-4-3-2, a table of letters
// by series.
func validFIN(w []byte) bool {
	sum := weighted(w[1:], 2, 7, 6, 5, 4, 3, 2)
	switch w[0] {
	case 'S':
		return "JZIHGFEDCBA"[sum%11] == w[8]
	case 'T':
		return "JZIHGFEDCBA"[(sum+4)%11] == w[8]
	case 'F':
		return "XWUTRQPNMLK"[sum%11] == w[8]
	case 'G':
		return "XWUTRQPNMLK"[(sum+4)%11] == w[8]
	case 'M':
		return "XWUTRQPNJLK"[10-(sum+3)%11] == w[8]
	}
	return false
}
