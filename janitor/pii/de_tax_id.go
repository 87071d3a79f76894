// SPDX-License-Identifier: Apache-2.0

package pii

// EntityDETaxID labels German tax identification numbers.
const EntityDETaxID Entity = "DE_TAX_ID"

var deTaxID = builtin{
	name:   "de_tax_id",
	entity: EntityDETaxID,
	doc:    "German tax identification numbers: ISO/IEC 7064 MOD 11,10, beside a word such as Steuer-ID.",
	words:  topic("steuer steuerid idnr identifikationsnummer steueridentifikationsnummer steuernummer tin"),
	groups: "11 2_3_3_3",
	valid:  validDETaxID,
	match:  []string{"Steuer-ID: «12345678903»"},
	noMatch: []string{
		"Steuer-ID: 12345678904",
		"value 12345678903",
	},
}

// validDETaxID checks a German tax identification number: first digit
// not 0, no digit more than three times among the first ten, ISO/IEC 7064 MOD
// 11,10.
func validDETaxID(n idNumber) bool {
	d := n.bytes()
	if d[0] == '0' {
		return false
	}
	var count [10]int
	for _, c := range d[:10] {
		count[c-'0']++
	}
	for _, n := range count {
		if n > 3 {
			return false
		}
	}
	return mod1110(d)
}
