// SPDX-License-Identifier: Apache-2.0

package pii

// EntitySEPNR labels Swedish personal identity numbers.
const EntitySEPNR Entity = "SE_PNR"

var sePNR = builtin{
	name:    "se_pnr",
	entity:  EntitySEPNR,
	doc:     "Swedish personal identity numbers: date and Luhn (Skatteverket), beside a word such as personnummer.",
	words:   topic("personnummer pnr personnr samordningsnummer swedish svenskt"),
	groups:  "10 12 6-4 8-4",
	valid:   validPersonnummer,
	match:   []string{"personnummer «198712202384»"},
	noMatch: []string{"personnummer 19870112-2388"},
}

// validPersonnummer checks a Swedish personal identity number: a date (the day plus
// 60 in a coordination number) and Luhn over the last ten digits.
func validPersonnummer(n idNumber) bool {
	d := n.bytes()
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
