// SPDX-License-Identifier: Apache-2.0

package pii

// EntityLicense labels driver's licence numbers.
const EntityLicense Entity = "DRIVER_LICENSE"

var driverLicense = builtin{
	name:   "driver_license",
	entity: EntityLicense,
	doc:    "Driver's licence numbers: six to twenty letters and digits after words such as driver's license.",
	words:  topic("license licence licenses licences dl dln führerschein fuehrerschein führerscheinnummer rijbewijs patente"),
	match:  []string{"my driver's license is «A56319335»"},
	noMatch: []string{
		"the driver loaded 12345678 rows",
		"Apache License 2.0, 20040101",
	},
}

// driverWords make a licence one to drive.
var driverWords = topic("driver drivers driving")

// licenseWords need no driver beside them.
var licenseWords = topic("dln führerschein fuehrerschein führerscheinnummer rijbewijs")

// isYearsOrDate reports whether a word is a range of years or a date:
// "2011-2020" stands beside "licence" and "driver" in every copyright file.
func isYearsOrDate(w []byte) bool {
	if len(w) < 8 || !likeYear(w) || w[4] != '-' {
		return false
	}
	return len(w) == 9 && likeYear(w[5:]) || len(w) == 10 && w[7] == '-'
}
