// SPDX-License-Identifier: Apache-2.0

package pii

// EntityBRCNPJ labels Brazilian CNPJ numbers.
const EntityBRCNPJ Entity = "BR_CNPJ"

var brCNPJ = builtin{
	name:    "br_cnpj",
	entity:  EntityBRCNPJ,
	doc:     "Brazilian CNPJ numbers: two check digits mod 11; without punctuation beside the word CNPJ.",
	words:   topic("cnpj"),
	groups:  "14 !2.3.3/4-2",
	valid:   validCNPJ,
	match:   []string{"«11.222.333/0001-81»"},
	noMatch: []string{"11.222.333/0001-82"},
}

// validCNPJ checks a Brazilian CNPJ: two check digits, mod 11.
func validCNPJ(n idNumber) bool {
	d := n.bytes()
	return brCheck(weighted(d, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)) == d[12] &&
		brCheck(weighted(d, 6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)) == d[13]
}
