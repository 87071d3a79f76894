// SPDX-License-Identifier: Apache-2.0

package pii

// EntityBRCPF labels Brazilian CPF numbers.
const EntityBRCPF Entity = "BR_CPF"

var brCPF = builtin{
	name:   "br_cpf",
	entity: EntityBRCPF,
	doc:    "Brazilian CPF numbers: two check digits mod 11; without punctuation beside the word CPF.",
	words:  topic("cpf contribuinte"),
	groups: "11 !3.3.3-2",
	valid:  validCPF,
	match: []string{
		"«111.444.777-35»",
		"CPF «11144477735»",
	},
	noMatch: []string{"111.444.777-36"},
}

// validCPF checks a Brazilian CPF: two check digits, mod 11.
func validCPF(n idNumber) bool {
	d := n.bytes()
	return brCheck(weighted(d, 10, 9, 8, 7, 6, 5, 4, 3, 2)) == d[9] &&
		brCheck(weighted(d, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2)) == d[10]
}
