// SPDX-License-Identifier: Apache-2.0

package pii

// EntityAUABN labels Australian business numbers.
const EntityAUABN Entity = "AU_ABN"

var auABN = builtin{
	name:    "au_abn",
	entity:  EntityAUABN,
	doc:     "Australian business numbers: weights mod 89, beside a word such as ABN.",
	words:   topic("abn"),
	groups:  "11 2_3_3_3",
	valid:   validABN,
	match:   []string{"ABN «51 824 753 556»"},
	noMatch: []string{"ABN 51 824 753 557"},
}

// validABN checks an Australian business number: first digit less one, weighted, mod 89.
func validABN(n idNumber) bool {
	d := n.bytes()
	return d[0] != '0' && (weighted(d, 10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19)-10)%89 == 0
}
