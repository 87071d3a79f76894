// SPDX-License-Identifier: Apache-2.0

package pii

// EntityAadhaar labels Indian Aadhaar numbers.
const EntityAadhaar Entity = "AADHAAR"

var inAadhaar = builtin{
	name:   "in_aadhaar",
	entity: EntityAadhaar,
	doc:    "Indian Aadhaar numbers: Verhoeff check digit (UIDAI), beside the word Aadhaar.",
	words:  topic("aadhaar aadhar uidai uid आधार"),
	groups: "12 4_4_4",
	valid:  validAadhaar,
	match:  []string{"aadhaar «4001 2345 6787»"},
	noMatch: []string{
		"totals 4001 2345 6787 units",
		"aadhaar 4001 2345 6788",
	},
}

// validAadhaar checks an Indian Aadhaar: first digit 2-9, no palindrome, Verhoeff.
func validAadhaar(n idNumber) bool {
	d := n.bytes()
	if d[0] < '2' {
		return false
	}
	check := byte(0)
	palindrome := true
	for i := range d {
		c := d[len(d)-1-i]
		palindrome = palindrome && c == d[i]
		check = verhoeffProduct[check][verhoeffPermute[i%8][c-'0']]
	}
	return check == 0 && !palindrome
}
