// SPDX-License-Identifier: Apache-2.0

package pii

// validDEA: US Drug Enforcement Administration registration number.
func validDEA(w []byte) bool {
	d := w[2:]
	return (weighted(d, 1, 0, 1, 0, 1)+2*weighted(d, 0, 1, 0, 1, 0, 1))%10 == int(d[6]-'0')
}
