// SPDX-License-Identifier: Apache-2.0

package pii

// EntityNPI labels US national provider identifiers.
const EntityNPI Entity = "NPI"

var usNPI = builtin{
	name:   "us_npi",
	entity: EntityNPI,
	doc:    "US national provider identifiers: Luhn with prefix 80840 (45 CFR 162.406), beside a word such as NPI.",
	words:  topic("npi provider prescriber"),
	groups: "10 4-3-3",
	valid:  validNPI,
	match:  []string{"NPI: «1234567893»"},
	noMatch: []string{
		"NPI: 1234567894",
		"order 1234567893 shipped",
	},
}

// validNPI checks a US National Provider Identifier: 10 digits, first 1 or 2, Luhn
// with the prefix 80840 (45 CFR 162.406).
func validNPI(n idNumber) bool {
	d := n.bytes()
	if d[0] != '1' && d[0] != '2' {
		return false
	}
	var buf [15]byte
	copy(buf[:], "80840")
	copy(buf[5:], d)
	return luhn(buf[:])
}
