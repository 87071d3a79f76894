// SPDX-License-Identifier: Apache-2.0

package pii

// validNIR: French social security number: sex, year, month, place, and the
// key, 97 less the remainder.
func validNIR(d []byte) bool {
	month := num(d[3:5])
	return (d[0] == '1' || d[0] == '2') && (month >= 1 && month <= 12 || month >= 20 && month <= 42 || month >= 50) &&
		97-mod97Digits(d[:13]) == num(d[13:15])
}
