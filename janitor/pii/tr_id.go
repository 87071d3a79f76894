// SPDX-License-Identifier: Apache-2.0

package pii

// EntityTRID labels Turkish identity numbers.
const EntityTRID Entity = "TR_ID"

var trID = builtin{
	name:    "tr_id",
	entity:  EntityTRID,
	doc:     "Turkish identity numbers: two check digits, beside a word such as kimlik.",
	words:   topic("kimlik tckn tc turkish turkey türk vatandaşlık kişi kimliği"),
	groups:  "11",
	valid:   validTRID,
	match:   []string{"TC kimlik «10000000146»"},
	noMatch: []string{"TC kimlik 10000000147"},
}

// validTRID checks a Turkish identity number: two check digits.
func validTRID(n idNumber) bool {
	d := n.bytes()
	if d[0] == '0' {
		return false
	}
	odd := weighted(d, 1, 0, 1, 0, 1, 0, 1, 0, 1)
	even := weighted(d, 0, 1, 0, 1, 0, 1, 0, 1)
	return ((odd*7-even)%10+10)%10 == int(d[9]-'0') && (odd+even+int(d[9]-'0'))%10 == int(d[10]-'0')
}
