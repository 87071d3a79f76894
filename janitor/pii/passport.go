// SPDX-License-Identifier: Apache-2.0

package pii

// EntityPassport labels passport numbers.
const EntityPassport Entity = "PASSPORT"

var passport = builtin{
	name:   "passport",
	entity: EntityPassport,
	doc:    "Passport numbers: six to ten letters and digits after the word passport in one of several languages (ICAO 9303 lengths).",
	words:  topic("passport passports reisepass passeport pasaporte passaporto passaporte paspoort paszport", "护照 パスポート 여권"),
	match: []string{
		"passport «X1234567» issued",
		"Reisepass Nr. «C01X00T47»",
		"护照号：«KB0686167»",
	},
	noMatch: []string{
		"order X1234567",
		"passport 1994-1999",
	},
}

// passportShape reports whether w has six to ten characters: digits with at
// most three letters before and one after, or nine capitals and digits mixed,
// as in Germany.
func passportShape(w []byte) bool {
	if len(w) < 6 || len(w) > 10 {
		return false
	}
	if len(w) == 9 && isUpper(w[0]) && mixedCode(w) {
		return true
	}
	for i, c := range w {
		if !isDigit(c) && (!isAlpha(c) || i > 2 && i < len(w)-1) {
			return false
		}
	}
	return isDigit(w[3])
}

// mixedCode reports whether w is capitals and at least four digits.
func mixedCode(w []byte) bool {
	digits := 0
	for _, c := range w {
		if isDigit(c) {
			digits++
		} else if !isUpper(c) {
			return false
		}
	}
	return digits >= 4
}
