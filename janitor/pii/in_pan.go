// SPDX-License-Identifier: Apache-2.0

package pii

// validPAN: Indian permanent account number: the fourth letter is the kind of
// holder.
func validPAN(w []byte) bool {
	switch w[3] {
	case 'P', 'C', 'H', 'F', 'A', 'T', 'B', 'L', 'J', 'G':
		return num(w[5:9]) > 0
	}
	return false
}
