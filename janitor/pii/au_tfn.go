// SPDX-License-Identifier: Apache-2.0

package pii

// EntityAUTFN labels Australian tax file numbers.
const EntityAUTFN Entity = "AU_TFN"

var auTFN = builtin{
	name:   "au_tfn",
	entity: EntityAUTFN,
	doc:    "Australian tax file numbers: weights mod 11, beside a word such as TFN.",
	words:  topic("tfn tax"),
	groups: "9 3_3_3 8",
	valid:  validTFN,
	match: []string{
		"TFN «876 543 210»",
		"TFN: «410350803»",
	},
	noMatch: []string{"TFN 876 543 211"},
}

// validTFN checks an Australian tax file number: 8 or 9 digits, weighted, mod 11.
func validTFN(n idNumber) bool {
	d := n.bytes()
	if len(d) == 8 {
		return weighted(d, 10, 7, 8, 4, 6, 3, 5, 1)%11 == 0
	}
	return len(d) == 9 && weighted(d, 1, 4, 3, 7, 5, 8, 6, 9, 10)%11 == 0
}
