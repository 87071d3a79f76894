// SPDX-License-Identifier: Apache-2.0

package pii

// EntityNHS labels UK NHS numbers.
const EntityNHS Entity = "NHS"

var ukNHS = builtin{
	name:    "uk_nhs",
	entity:  EntityNHS,
	doc:     "UK NHS numbers: mod 11 (NHS Data Dictionary), beside a word such as NHS.",
	words:   topic("nhs patient health"),
	groups:  "10 3_3_4",
	valid:   validNHS,
	match:   []string{"NHS «943 476 5919»"},
	noMatch: []string{"NHS 943 476 5918"},
}

// validNHS checks a UK National Health Service number: mod 11 (NHS Data Dictionary).
func validNHS(n idNumber) bool {
	d := n.bytes()
	check := 11 - weighted(d, 10, 9, 8, 7, 6, 5, 4, 3, 2)%11
	return check != 10 && check%11 == int(d[9]-'0')
}
