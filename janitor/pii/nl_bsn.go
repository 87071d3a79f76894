// SPDX-License-Identifier: Apache-2.0

package pii

// EntityNLBSN labels Dutch citizen service numbers.
const EntityNLBSN Entity = "NL_BSN"

var nlBSN = builtin{
	name:    "nl_bsn",
	entity:  EntityNLBSN,
	doc:     "Dutch citizen service numbers: eleven test, beside a word such as BSN.",
	words:   topic("bsn burgerservicenummer sofi sofinummer"),
	groups:  "9 4.2.3",
	valid:   validBSN,
	match:   []string{"BSN «111222333»"},
	noMatch: []string{"BSN 111222334"},
}

// validBSN checks a Dutch citizen service number: the eleven test with the last
// weight negative.
func validBSN(n idNumber) bool {
	d := n.bytes()
	return weighted(d, 9, 8, 7, 6, 5, 4, 3, 2, -1)%11 == 0
}
