// SPDX-License-Identifier: Apache-2.0

package pii

// validNIP: Polish tax number: weights mod 11.
func validNIP(d []byte) bool { return weighted(d, 6, 5, 7, 2, 3, 4, 5, 6, 7)%11 == int(d[9]-'0') }
