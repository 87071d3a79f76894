// SPDX-License-Identifier: Apache-2.0

package pii

// validKVNR: German health insurance number: the letter as two digits, then
// weights 1 and 2 with cross sums, mod 10.
func validKVNR(w []byte) bool {
	letter := int(w[0]-'A') + 1
	sum := letter/10 + cross(letter%10*2)
	for i, c := range w[1:9] {
		v := int(c - '0')
		if i%2 == 1 {
			v *= 2
		}
		sum += cross(v)
	}
	return sum%10 == int(w[9]-'0')
}
