// SPDX-License-Identifier: Apache-2.0

package pii

// validBSN: Dutch citizen service number: the eleven test with the last
// weight negative.
func validBSN(d []byte) bool { return weighted(d, 9, 8, 7, 6, 5, 4, 3, 2, -1)%11 == 0 }
