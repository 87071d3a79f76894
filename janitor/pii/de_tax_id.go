// SPDX-License-Identifier: Apache-2.0

package pii

// validDETaxID: German tax identification number: first digit not 0, of the
// first ten digits one or two are missing, ISO/IEC 7064 MOD 11,10.
func validDETaxID(d []byte) bool {
	if d[0] == '0' {
		return false
	}
	var count [10]int
	for _, c := range d[:10] {
		count[c-'0']++
	}
	for _, n := range count {
		if n > 3 {
			return false
		}
	}
	return mod1110(d)
}
