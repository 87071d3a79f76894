// SPDX-License-Identifier: Apache-2.0

package pii

// validSPI: French tax number: first digit 0-3, the key is the first ten
// digits mod 511.
func validSPI(d []byte) bool { return d[0] <= '3' && num(d[:10])%511 == num(d[10:]) }
