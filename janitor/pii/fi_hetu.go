// SPDX-License-Identifier: Apache-2.0

package pii

// EntityFIHETU labels Finnish personal identity codes.
const EntityFIHETU Entity = "FI_HETU"

var fiHETU = builtin{
	name:     "fi_hetu",
	entity:   EntityFIHETU,
	doc:      "Finnish personal identity codes: date and check character mod 31 (DVV).",
	words:    topic("hetu henkilötunnus henkilotunnus"),
	groups:   "6-4",
	patterns: "!999999A999X",
	valid:    validHETUNumber,
	match: []string{
		"hetu «131052-308T»",
		"«010594Y9032»",
		"hetu «250468-1026»",
	},
	noMatch: []string{
		"131052-308U 111111-111A",
		"code 250468-1027 of it",
	},
}

// validHETUNumber takes the ten digits of the written form with a hyphen, or
// the whole code with a letter for the century.
func validHETUNumber(n idNumber) bool {
	w := n.bytes()
	if len(w) == 10 {
		var withHyphen [11]byte
		copy(withHyphen[:], w[:6])
		withHyphen[6] = '-'
		copy(withHyphen[7:], w[6:])
		return validHETU(withHyphen[:])
	}
	switch w[6] {
	case 'A', 'B', 'C', 'D', 'E', 'F', 'U', 'V', 'W', 'X', 'Y':
		return validHETU(w)
	}
	return false
}

// validHETU checks the date and the check character, mod 31 (DVV).
func validHETU(w []byte) bool {
	n := num(w[:6])*1000 + num(w[7:10])
	return validDate(0, num(w[2:4]), num(w[:2])) && num(w[7:10]) >= 2 && "0123456789ABCDEFHJKLMNPRSTUVWXY"[n%31] == w[10]
}

// dashedHETU takes six digits, a hyphen, three digits and a check character.
func (r *scan) dashedHETU(c *chain, i int) int {
	end := c.g[i+1].end
	if isWord(byteAt(c.text, end+1)) || end >= len(c.text) {
		return 0
	}
	var w [11]byte
	copy(w[:], c.text[c.g[i].start:end])
	w[10] = c.text[end]
	if isLower(w[10]) {
		w[10] &^= 0x20
	}
	if !validHETU(w[:]) {
		return 0
	}
	r.add(c.g[i].start, end+1, EntityFIHETU)
	return 2
}
