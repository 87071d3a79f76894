// SPDX-License-Identifier: Apache-2.0

package pii

// validMBI: US Medicare beneficiary identifier: no S, L, O, I, B or Z, first
// digit not 0 (CMS).
func validMBI(w []byte) bool {
	for _, c := range w {
		switch c {
		case 'S', 'L', 'O', 'I', 'B', 'Z':
			return false
		}
	}
	return w[0] != '0'
}
