// SPDX-License-Identifier: Apache-2.0

package pii

// validTFN: Australian tax file number: 8 or 9 digits, weighted, mod 11.
func validTFN(d []byte) bool {
	if len(d) == 8 {
		return weighted(d, 10, 7, 8, 4, 6, 3, 5, 1)%11 == 0
	}
	return len(d) == 9 && weighted(d, 1, 4, 3, 7, 5, 8, 6, 9, 10)%11 == 0
}
