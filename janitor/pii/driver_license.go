// SPDX-License-Identifier: Apache-2.0

package pii

// years tells a range of years and a date from a number: "2011-2020" stands
// beside "licence" and "driver" in every copyright file.
func years(w []byte) bool {
	if len(w) < 8 || !year(w) || w[4] != '-' {
		return false
	}
	return len(w) == 9 && year(w[5:]) || len(w) == 10 && w[7] == '-'
}
