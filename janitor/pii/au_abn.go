// SPDX-License-Identifier: Apache-2.0

package pii

// validABN: Australian business number: first digit less one, weighted, mod 89.
func validABN(d []byte) bool {
	return d[0] != '0' && (weighted(d, 10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19)-10)%89 == 0
}
