// SPDX-License-Identifier: Apache-2.0

package pii

// EntityKRRRN labels Korean resident registration numbers.
const EntityKRRRN Entity = "KR_RRN"

var krRRN = builtin{
	name:    "kr_rrn",
	entity:  EntityKRRRN,
	doc:     "Korean resident registration numbers: date and sex digit in 6-7 groups; together beside a word such as RRN.",
	words:   topic("rrn korean resident 주민등록번호 주민번호", "주민등록"),
	groups:  "13 !6-7",
	valid:   validRRN,
	match:   []string{"RRN «960121-1234567»"},
	noMatch: []string{"RRN 961321-1234567"},
}

// validRRN checks a Korean resident registration number: a date and a digit for sex
// and century. Numbers given since October 2020 have no check digit, so it
// cannot be asked for.
func validRRN(n idNumber) bool {
	d := n.bytes()
	return d[6] >= '1' && d[6] <= '8' && validDate(0, num(d[2:4]), num(d[4:6]))
}
