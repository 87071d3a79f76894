// SPDX-License-Identifier: Apache-2.0

package pii

// EntityCNID labels Chinese resident identity numbers.
const EntityCNID Entity = "CN_ID"

var cnID = builtin{
	name:     "cn_id",
	entity:   EntityCNID,
	doc:      "Chinese resident identity numbers: date and ISO/IEC 7064 MOD 11-2 (GB 11643).",
	words:    topic("身份证 identity", "身份证"),
	groups:   "!18",
	patterns: "!99999999999999999X",
	valid:    validCNID,
	match: []string{
		"«11010519491231002X»",
		"身份证号码：«110105194912310011»，谢谢",
	},
	noMatch: []string{
		"110105194912310012",
		"110105194913310021",
	},
}

// validCNID checks a Chinese resident identity number: region, date, ISO/IEC 7064 MOD
// 11-2 (GB 11643).
func validCNID(n idNumber) bool {
	w := n.bytes()
	if w[0] == '0' || w[0] == '9' || num(w[6:8]) < 18 || num(w[6:8]) > 20 || !validDate(num(w[6:10]), num(w[10:12]), num(w[12:14])) {
		return false
	}
	sum := weighted(w, 7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
	return "10X98765432"[sum%11] == w[17]
}
