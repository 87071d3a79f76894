// SPDX-License-Identifier: Apache-2.0

package pii

// EntityUSMBI labels US Medicare beneficiary identifiers.
const EntityUSMBI Entity = "US_MBI"

var usMBI = builtin{
	name:     "us_mbi",
	entity:   EntityUSMBI,
	doc:      "US Medicare beneficiary identifiers: the character rules of CMS, beside a word such as Medicare.",
	words:    topic("mbi medicare beneficiary hicn"),
	patterns: "9AX9AX9AA99",
	valid:    validMBI,
	match:    []string{"Medicare «1EG4TE5MK73»"},
	noMatch: []string{
		"Medicare 1SG4TE5MK73",
		"part 1EG4TE5MK73 in stock",
	},
}

// validMBI checks a US Medicare beneficiary identifier: no S, L, O, I, B or Z, first
// digit not 0 (CMS).
func validMBI(n idNumber) bool {
	w := n.bytes()
	for _, c := range w {
		switch c {
		case 'S', 'L', 'O', 'I', 'B', 'Z':
			return false
		}
	}
	return w[0] != '0'
}
