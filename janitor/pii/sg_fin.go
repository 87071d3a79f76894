// SPDX-License-Identifier: Apache-2.0

package pii

// EntitySGFIN labels Singapore NRIC and FIN.
const EntitySGFIN Entity = "SG_FIN"

var sgFIN = builtin{
	name:     "sg_fin",
	entity:   EntitySGFIN,
	doc:      "Singapore NRIC and FIN: check letter by series.",
	words:    topic("nric fin singapore"),
	patterns: "!A9999999A",
	valid:    validFIN,
	match:    []string{"NRIC «S2740116C» was"},
	noMatch: []string{
		"NRIC S2740116D was",
		"xNRICS2740116C",
	},
}

// validFIN checks a Singapore NRIC or FIN: weights 2-7-6-5-4-3-2, a table of
// letters for each series.
func validFIN(n idNumber) bool {
	w := n.bytes()
	sum := weighted(w[1:], 2, 7, 6, 5, 4, 3, 2)
	switch w[0] {
	case 'S':
		return "JZIHGFEDCBA"[sum%11] == w[8]
	case 'T':
		return "JZIHGFEDCBA"[(sum+4)%11] == w[8]
	case 'F':
		return "XWUTRQPNMLK"[sum%11] == w[8]
	case 'G':
		return "XWUTRQPNMLK"[(sum+4)%11] == w[8]
	case 'M':
		return "XWUTRQPNJLK"[10-(sum+3)%11] == w[8]
	}
	return false
}
