// SPDX-License-Identifier: Apache-2.0

package pii

// EntityITIN labels US individual taxpayer numbers.
const EntityITIN Entity = "ITIN"

var itin = builtin{
	name:   "itin",
	entity: EntityITIN,
	doc:    "US individual taxpayer numbers: 9xx with the group ranges of the IRS, in 3-2-4 groups; nine digits together only beside a word such as itin.",
	words:  topic("itin taxpayer tax tin"),
	match: []string{
		"itin «911-70-1234»",
		"taxpayer «911701234»",
	},
	noMatch: []string{"911-89-1234"},
}

// validITIN applies the group ranges of the Internal Revenue Service:
// 50-65, 70-88, 90-92, 94-99 (Internal Revenue Manual 3.21.263).
func validITIN(d []byte) bool {
	group := int(d[3]-'0')*10 + int(d[4]-'0')
	return d[0] == '9' && (group >= 50 && group <= 65 || group >= 70 && group <= 88 ||
		group >= 90 && group <= 92 || group >= 94) && string(d[5:]) != "0000"
}
