// SPDX-License-Identifier: Apache-2.0

package pii

// EntityMXCURP labels Mexican CURP.
const EntityMXCURP Entity = "MX_CURP"

var mxCURP = builtin{
	name:     "mx_curp",
	entity:   EntityMXCURP,
	doc:      "Mexican CURP: date, sex and check digit (RENAPO).",
	words:    topic("curp"),
	patterns: "!AAAA999999AAAAAAX9",
	valid:    validCURP,
	match:    []string{"curp «HEGG560427MVZRRL04»"},
	noMatch:  []string{"curp HEGG560427MVZRRL05"},
}

// validCURP checks a Mexican CURP: date, sex, and the check digit.
func validCURP(n idNumber) bool {
	w := n.bytes()
	if w[10] != 'H' && w[10] != 'M' && w[10] != 'X' || !validDate(0, num(w[6:8]), num(w[8:10])) {
		return false
	}
	sum := 0
	for i, c := range w[:17] {
		v := int(c - '0')
		if !isDigit(c) {
			v = int(c-'A') + 10
			if c > 'N' {
				v++ // Ñ stands between N and O
			}
		}
		sum += v * (18 - i)
	}
	return (10-sum%10)%10 == int(w[17]-'0')
}
