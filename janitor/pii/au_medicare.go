// SPDX-License-Identifier: Apache-2.0

package pii

// EntityAUMedicare labels Australian Medicare numbers.
const EntityAUMedicare Entity = "AU_MEDICARE"

var auMedicare = builtin{
	name:    "au_medicare",
	entity:  EntityAUMedicare,
	doc:     "Australian Medicare numbers: weights mod 10, beside the word Medicare.",
	words:   topic("medicare"),
	groups:  "10 4_5_1",
	valid:   validMedicare,
	match:   []string{"medicare «2123 45670 1»"},
	noMatch: []string{"medicare 2123 45671 1"},
}

// validMedicare checks an Australian Medicare card: first digit 2-6, ninth is the
// check digit.
func validMedicare(n idNumber) bool {
	d := n.bytes()
	return d[0] >= '2' && d[0] <= '6' && weighted(d, 1, 3, 7, 9, 1, 3, 7, 9)%10 == int(d[8]-'0')
}
