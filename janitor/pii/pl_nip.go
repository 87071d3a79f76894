// SPDX-License-Identifier: Apache-2.0

package pii

// EntityPLNIP labels Polish tax numbers (NIP).
const EntityPLNIP Entity = "PL_NIP"

var plNIP = builtin{
	name:    "pl_nip",
	entity:  EntityPLNIP,
	doc:     "Polish tax numbers (NIP): weights mod 11, beside the word NIP.",
	words:   topic("nip"),
	groups:  "10 3-3-2-2 3-2-2-3",
	valid:   validNIP,
	match:   []string{"NIP «526-025-09-95»"},
	noMatch: []string{"NIP 526-025-09-96"},
}

// validNIP checks a Polish tax number: weights mod 11.
func validNIP(n idNumber) bool {
	d := n.bytes()
	return weighted(d, 6, 5, 7, 2, 3, 4, 5, 6, 7)%11 == int(d[9]-'0')
}
