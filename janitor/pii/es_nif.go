// SPDX-License-Identifier: Apache-2.0

package pii

// EntityESNIF labels Spanish NIF, DNI and NIE numbers.
const EntityESNIF Entity = "ES_NIF"

var esNIF = builtin{
	name:     "es_nif",
	entity:   EntityESNIF,
	doc:      "Spanish NIF, DNI and NIE numbers: letter mod 23, beside a word such as DNI or with a hyphen.",
	words:    topic("nif dni nie documento identidad"),
	patterns: "99999999A A9999999A",
	valid: func(n idNumber) bool {
		return isDigit(n.text[0]) && validNIF(n.bytes()) || !isDigit(n.text[0]) && validNIE(n.bytes())
	},
	match: []string{
		"DNI «12345678Z»",
		"NIE «X1234567L»",
		"«12345678-Z»",
	},
	noMatch: []string{
		"DNI 12345678A",
		"part 12345678Z in stock",
	},
}

// nifLetters are the check letters of Spanish numbers by remainder.
const nifLetters = "TRWAGMYFPDXBNJZSQVHLCKE"

// validNIF checks a Spanish NIF: the letter is the number mod 23.
func validNIF(w []byte) bool { return nifLetters[num(w[:8])%23] == w[8] }

// validNIE checks a Spanish NIE: X, Y, Z stand for 0, 1, 2.
func validNIE(w []byte) bool {
	if w[0] < 'X' {
		return false
	}
	return nifLetters[(int(w[0]-'X')*10000000+num(w[1:8]))%23] == w[8]
}

// dashedNIF takes eight digits, a hyphen and the check letter.
func (r *scan) dashedNIF(c *chain, i int) int {
	end := c.g[i].end
	if byteAt(c.text, end) != '-' || !isAlpha(byteAt(c.text, end+1)) || isWord(byteAt(c.text, end+2)) {
		return 0
	}
	var w [9]byte
	copy(w[:], c.text[c.g[i].start:end])
	w[8] = c.text[end+1] &^ 0x20
	if !validNIF(w[:]) || !isUpper(c.text[end+1]) && (r.topicsBefore(c.g[i].start)|r.topicsAfter(end+2))&esNIF.words == 0 {
		return 0
	}
	r.add(c.g[i].start, end+2, EntityESNIF)
	return 1
}
