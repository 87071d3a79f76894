// SPDX-License-Identifier: Apache-2.0

package pii

// EntityITFiscal labels Italian codice fiscale.
const EntityITFiscal Entity = "IT_FISCAL"

var itFiscal = builtin{
	name:     "it_fiscal",
	entity:   EntityITFiscal,
	doc:      "Italian codice fiscale: check letter (DM 23 December 1976).",
	words:    topic("fiscale codice cf"),
	patterns: "!AAAAAAXXAXXAXXXA",
	valid:    validFiscal,
	match:    []string{"CF «RSSMRA85T10A562S»"},
	noMatch:  []string{"CF RSSMRA85T10A562T"},
}

// fiscalOdd are the values of characters at odd places (DM 23 December 1976).
var fiscalOdd = [26]int{1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23}

// validFiscal checks an Italian codice fiscale: month letter, digits (or the letters
// that replace them in homonyms) and the check letter.
func validFiscal(n idNumber) bool {
	w := n.bytes()
	sum := 0
	for i, c := range w[:15] {
		v := 0
		if isDigit(c) {
			v = int(c - '0')
		} else {
			v = int(c - 'A')
		}
		if i%2 == 0 {
			v = fiscalOdd[v]
		}
		sum += v
	}
	digits := 0
	for _, i := range [...]int{6, 7, 9, 10, 12, 13, 14} {
		if isDigit(w[i]) {
			digits++
		}
	}
	return digits >= 3 && byte('A'+sum%26) == w[15]
}
