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
	match:  []string{"pesel «44051401458»"},
	noMatch: []string{
		"pesel 44051401459",
		"value 44051401458",
	},
}

// validPESEL checks a Polish PESEL: mod 10, and a month to which a multiple of
// 20 is added for the century. Issued numbers with impossible dates exist, so
// the day is not checked against the month.
func validPESEL(n idNumber) bool {
	d := n.bytes()
	month := num(d[2:4])
	return (month == 0 || month%20 > 0) && month%20 <= 12 && num(d[4:6]) <= 31 &&
		weighted(d, 1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)%10 == 0
}
