// SPDX-License-Identifier: Apache-2.0

package pii

// EntityNINO labels UK national insurance numbers.
const EntityNINO Entity = "NINO"

var ukNINO = builtin{
	name:     "uk_nino",
	entity:   EntityNINO,
	doc:      "UK national insurance numbers: the prefixes and suffixes of HMRC's manual NIM39110.",
	words:    topic("nino ni insurance"),
	patterns: "!AA999999A",
	valid:    validNINO,
	match: []string{
		"NI «AB123456C»",
		"nino: «ab 12 34 56 c»",
	},
	noMatch: []string{
		"BG123456A GB123456A DA123456A AB123456E",
		"commit ab123456c",
	},
}

// validNINO checks a UK national insurance number: the prefixes of HMRC's NIM39110.
func validNINO(n idNumber) bool {
	w := n.bytes()
	for _, c := range w[:2] {
		switch c {
		case 'D', 'F', 'I', 'Q', 'U', 'V':
			return false
		}
	}
	switch string(w[:2]) {
	case "BG", "GB", "KN", "NK", "NT", "TN", "ZZ":
		return false
	}
	return w[1] != 'O' && w[8] >= 'A' && w[8] <= 'D'
}

// spacedNINO takes two letters, k groups with six digits together, and a
// letter, with spaces between.
func (r *scan) spacedNINO(c *chain, i, k int) int {
	text := c.text
	start, end := c.g[i].start, c.g[i+k-1].end
	if byteAt(text, start-1) == ' ' {
		start--
	}
	start -= 2
	if byteAt(text, end) == ' ' {
		end++
	}
	if start < 0 || !isAlpha(text[start]) || !isAlpha(text[start+1]) || inWord(text, start) ||
		!isAlpha(byteAt(text, end)) || isWord(byteAt(text, end+1)) {
		return 0
	}
	var w [9]byte
	w[0], w[1] = text[start]&^0x20, text[start+1]&^0x20
	if c.digits(i, i+k-1, w[2:8]) != 6 {
		return 0
	}
	w[8] = text[end] &^ 0x20
	if !validNINO(newIDNumber(w[:])) {
		return 0
	}
	upper := isUpper(text[start]) && isUpper(text[start+1]) && isUpper(text[end])
	if k == 3 || upper || (r.topicsBefore(start)|r.topicsAfter(end+1))&ukNINO.words != 0 {
		r.add(start, end+1, EntityNINO)
		return k
	}
	return 0
}
