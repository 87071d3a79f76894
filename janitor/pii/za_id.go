// SPDX-License-Identifier: Apache-2.0

package pii

// EntityZAID labels South African identity numbers.
const EntityZAID Entity = "ZA_ID"

var zaID = builtin{
	name:    "za_id",
	entity:  EntityZAID,
	doc:     "South African identity numbers: date, citizenship and Luhn, beside words such as identity.",
	words:   topic("identity rsa sa african"),
	groups:  "13",
	valid:   validZAID,
	match:   []string{"identity «8001015009087»"},
	noMatch: []string{"identity 8001015009088"},
}

// validZAID checks a South African identity number: a date, citizenship 0-2, Luhn.
func validZAID(n idNumber) bool {
	d := n.bytes()
	return validDate(0, num(d[2:4]), num(d[4:6])) && d[10] <= '2' && luhn(d)
}
