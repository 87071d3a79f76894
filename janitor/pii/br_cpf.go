// SPDX-License-Identifier: Apache-2.0

package pii

// validCPF: Brazilian CPF: two check digits, mod 11.
func validCPF(d []byte) bool {
	return brCheck(weighted(d, 10, 9, 8, 7, 6, 5, 4, 3, 2)) == d[9] &&
		brCheck(weighted(d, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2)) == d[10]
}
