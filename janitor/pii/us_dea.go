// SPDX-License-Identifier: Apache-2.0

package pii

// EntityUSDEA labels US DEA registration numbers of prescribers.
const EntityUSDEA Entity = "US_DEA"

var usDEA = builtin{
	name:     "us_dea",
	entity:   EntityUSDEA,
	doc:      "US DEA registration numbers of prescribers: check digit, beside the word DEA.",
	words:    topic("dea prescriber"),
	patterns: "AX9999999",
	valid:    validDEA,
	match:    []string{"DEA «AB1234563»"},
	noMatch: []string{
		"DEA AB1234564",
		"part AB1234563 in stock",
	},
}

// validDEA checks a US Drug Enforcement Administration registration number.
func validDEA(n idNumber) bool {
	w := n.bytes()
	d := w[2:]
	return (weighted(d, 1, 0, 1, 0, 1)+2*weighted(d, 0, 1, 0, 1, 0, 1))%10 == int(d[6]-'0')
}
