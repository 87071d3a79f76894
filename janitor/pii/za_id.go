// SPDX-License-Identifier: Apache-2.0

package pii

// validZAID: South African identity number: a date, citizenship 0-2, Luhn.
func validZAID(d []byte) bool {
	return validDate(0, num(d[2:4]), num(d[4:6])) && d[10] <= '2' && luhn(d)
}
