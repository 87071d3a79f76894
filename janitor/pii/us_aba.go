// SPDX-License-Identifier: Apache-2.0

package pii

// EntityABA labels US bank routing numbers.
const EntityABA Entity = "ABA"

var usABA = builtin{
	name:   "us_aba",
	entity: EntityABA,
	doc:    "US bank routing numbers: Federal Reserve prefixes, weights 3-7-1 mod 10, beside a word such as routing.",
	words:  topic("aba routing rtn bank"),
	groups: "9 4-4-1",
	valid:  validABA,
	match:  []string{"routing number «121000358»"},
	noMatch: []string{
		"order 121000358 shipped",
		"routing number 121000359",
	},
}

// validABA checks an American Bankers Association routing number: Federal Reserve
// prefixes, weights 3-7-1, mod 10.
func validABA(n idNumber) bool {
	d := n.bytes()
	p := num(d[:2])
	return (p <= 12 || p >= 21 && p <= 32 || p >= 61 && p <= 72 || p == 80) &&
		weighted(d, 3, 7, 1, 3, 7, 1, 3, 7, 1)%10 == 0
}
