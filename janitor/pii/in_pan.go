// SPDX-License-Identifier: Apache-2.0

package pii

// EntityINPAN labels Indian permanent account numbers.
const EntityINPAN Entity = "IN_PAN"

var inPAN = builtin{
	name:     "in_pan",
	entity:   EntityINPAN,
	doc:      "Indian permanent account numbers: letters of the kind of holder, beside a word such as PAN.",
	words:    topic("pan permanent income"),
	patterns: "AAAAA9999A",
	valid:    validPAN,
	match:    []string{"PAN «ABCPE1234F»"},
	noMatch: []string{
		"PAN ABCDE1234F",
		"part ABCPE1234F in stock",
	},
}

// validPAN checks an Indian permanent account number: the fourth letter is the kind of
// holder.
func validPAN(n idNumber) bool {
	w := n.bytes()
	switch w[3] {
	case 'P', 'C', 'H', 'F', 'A', 'T', 'B', 'L', 'J', 'G':
		return num(w[5:9]) > 0
	}
	return false
}
