// SPDX-License-Identifier: Apache-2.0

package pii

// validCNPJ: Brazilian CNPJ: two check digits, mod 11.
func validCNPJ(d []byte) bool {
	return brCheck(weighted(d, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)) == d[12] &&
		brCheck(weighted(d, 6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)) == d[13]
}
