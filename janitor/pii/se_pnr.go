// SPDX-License-Identifier: Apache-2.0

package pii

// validPersonnummer: Swedish personal identity number: a date (the day plus
// 60 in a coordination number) and Luhn over the last ten digits.
func validPersonnummer(d []byte) bool {
	year := 0
	if len(d) == 12 {
		if c := num(d[:2]); c < 18 || c > 20 {
			return false
		}
		year = num(d[:4])
		d = d[2:]
	}
	day := num(d[4:6])
	if day > 60 {
		day -= 60
	}
	return validDate(year, num(d[2:4]), day) && luhn(d)
}
