// SPDX-License-Identifier: Apache-2.0

package pii

// EntityDEKVNR labels German health insurance numbers.
const EntityDEKVNR Entity = "DE_KVNR"

var deKVNR = builtin{
	name:     "de_kvnr",
	entity:   EntityDEKVNR,
	doc:      "German health insurance numbers: cross sums mod 10 (GKV-Spitzenverband), beside a word such as Krankenversicherung.",
	words:    topic("krankenversicherung krankenversichertennummer versichertennummer versicherung krankenkasse kvnr egk gkv"),
	patterns: "A999999999",
	valid:    validKVNR,
	match:    []string{"Krankenversicherung «A123456780»"},
	noMatch: []string{
		"Krankenversicherung A123456781",
		"part A123456780 in stock",
	},
}

// validKVNR checks a German health insurance number: the letter as two digits, then
// weights 1 and 2 with cross sums, mod 10.
func validKVNR(n idNumber) bool {
	w := n.bytes()
	letter := int(w[0]-'A') + 1
	sum := letter/10 + cross(letter%10*2)
	for i, c := range w[1:9] {
		v := int(c - '0')
		if i%2 == 1 {
			v *= 2
		}
		sum += cross(v)
	}
	return sum%10 == int(w[9]-'0')
}
