// SPDX-License-Identifier: Apache-2.0

package pii

// validMedicare: Australian Medicare card: first digit 2-6, ninth is the
// check digit.
func validMedicare(d []byte) bool {
	return d[0] >= '2' && d[0] <= '6' && weighted(d, 1, 3, 7, 9, 1, 3, 7, 9)%10 == int(d[8]-'0')
}
