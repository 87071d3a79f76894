// SPDX-License-Identifier: Apache-2.0

package pii

// validABA: American Bankers Association routing number: Federal Reserve
// prefixes, weights 3-7-1, mod 10.
func validABA(d []byte) bool {
	p := num(d[:2])
	return (p <= 12 || p >= 21 && p <= 32 || p >= 61 && p <= 72 || p == 80) &&
		weighted(d, 3, 7, 1, 3, 7, 1, 3, 7, 1)%10 == 0
}
