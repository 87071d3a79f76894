// SPDX-License-Identifier: Apache-2.0

package pii

// EntityCASIN labels Canadian social insurance numbers.
const EntityCASIN Entity = "CA_SIN"

var caSIN = builtin{
	name:    "ca_sin",
	entity:  EntityCASIN,
	doc:     "Canadian social insurance numbers: Luhn, beside a word such as SIN.",
	words:   topic("sin nas insurance assurance"),
	groups:  "3_3_3 9",
	valid:   validSIN,
	match:   []string{"my SIN is «130-692-544»"},
	noMatch: []string{"my SIN is 130-692-545"},
}

// validSIN checks a Canadian social insurance number: Luhn, first digit not 0 or 8.
func validSIN(n idNumber) bool {
	d := n.bytes()
	return d[0] != '0' && d[0] != '8' && luhn(d)
}
