// SPDX-License-Identifier: Apache-2.0

package pii

// EntityFRNIR labels French social security numbers (NIR).
const EntityFRNIR Entity = "FR_NIR"

var frNIR = builtin{
	name:   "fr_nir",
	entity: EntityFRNIR,
	doc:    "French social security numbers (NIR): sex, month, key mod 97 (INSEE).",
	words:  topic("nir sécurité securite sociale sécu secu"),
	groups: "!15 !1_2_2_2_3_3_2 !13_2",
	valid:  validNIR,
	match: []string{
		"NIR «2 55 08 14 168 025 38»",
		"«255081416802538»",
	},
	noMatch: []string{"NIR 2 55 08 14 168 025 39"},
}

// validNIR checks a French social security number: sex, year, month, place, and the
// key, 97 less the remainder.
func validNIR(n idNumber) bool {
	d := n.bytes()
	month := num(d[3:5])
	return (d[0] == '1' || d[0] == '2') && (month >= 1 && month <= 12 || month >= 20 && month <= 42 || month >= 50) &&
		97-mod97Digits(d[:13]) == num(d[13:15])
}
