// SPDX-License-Identifier: Apache-2.0

package pii

// validRRN: Korean resident registration number: a date and a digit for sex
// and century. Numbers given since October 2020 have no check digit, so it
// cannot be asked for.
func validRRN(d []byte) bool {
	return d[6] >= '1' && d[6] <= '8' && validDate(0, num(d[2:4]), num(d[4:6]))
}
