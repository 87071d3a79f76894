// SPDX-License-Identifier: Apache-2.0

package pii

// luhn checks the digits of a number by ISO/IEC 7812-1, annex B.
func luhn(digits []byte) bool {
	sum := 0
	double := false
	for i := len(digits) - 1; i >= 0; i-- {
		d := int(digits[i] - '0')
		if double {
			d *= 2
			if d > 9 {
				d -= 9
			}
		}
		sum += d
		double = !double
	}
	return sum%10 == 0
}

// weighted is the sum of digits times weights, the base of most national
// check digits. There must be at least as many digits as weights.
func weighted(digits []byte, weights ...int) int {
	sum := 0
	for i, w := range weights {
		sum += int(digits[i]-'0') * w
	}
	return sum
}

// sameDigits tells 000000000 and the like, which pass many checks.
func sameDigits(digits []byte) bool {
	for _, c := range digits {
		if c != digits[0] {
			return false
		}
	}
	return true
}
