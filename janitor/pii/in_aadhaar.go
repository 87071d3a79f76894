// SPDX-License-Identifier: Apache-2.0

package pii

// validAadhaar: Indian Aadhaar: first digit 2-9, no palindrome, Verhoeff.
func validAadhaar(d []byte) bool {
	if d[0] < '2' {
		return false
	}
	check := byte(0)
	palindrome := true
	for i := range d {
		c := d[len(d)-1-i]
		palindrome = palindrome && c == d[i]
		check = verhoeffProduct[check][verhoeffPermute[i%8][c-'0']]
	}
	return check == 0 && !palindrome
}
