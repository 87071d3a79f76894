// SPDX-License-Identifier: Apache-2.0

package pii

// EntityPESEL labels Polish PESEL numbers.
const EntityPESEL Entity = "PESEL"

var plPESEL = builtin{
	name:   "pl_pesel",
	entity: EntityPESEL,
	doc:    "Polish PESEL numbers: weights mod 10, beside the word PESEL.",
	words:  topic("pesel"),
	groups: "11",
	valid:  validPESEL,
	match: []string{
		"pesel «44051401458»",
	},
	noMatch: []string{
		"pesel 44051401459",
		"value 44051401458",
	},
}

// validPESEL checks a Polish PESEL: a date with the century in the month, mod 10.
func validPESEL(n idNumber) bool {
	d := n.bytes()
	month := num(d[2:4])
	year := 1900 + num(d[:2])
	switch {
	case month > 80:
		year, month = year-100, month-80
	case month > 60:
		year, month = year+300, month-60
	case month > 40:
		year, month = year+200, month-40
	case month > 20:
		year, month = year+100, month-20
	}
	// Rows of issued numbers with impossible dates exist; the checksum rules.
	_ = year
	return month <= 12 && num(d[4:6]) <= 31 && weighted(d, 1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)%10 == 0
}
