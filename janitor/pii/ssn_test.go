// SPDX-License-Identifier: Apache-2.0

package pii

import "testing"

func TestSSN(t *testing.T) {
	checkFindings(t, []finding{
		{"ssn 078-05-1123", []string{"SSN:078-05-1123"}},
		{"abc 078 05 1123 abc", []string{"SSN:078 05 1123"}},
		{"078.05.1123", []string{"SSN:078.05.1123"}},
		{"my SSN is 078051123 ok", []string{"SSN:078051123"}},
		{"078051123", []string{"SSN:078051123"}},
		{"social security number: 207292756", []string{"SSN:207292756"}},
		{"itin 911-70-1234", []string{"ITIN:911-70-1234"}},
		{"taxpayer 911701234", []string{"ITIN:911701234"}},
		{"order 078051123 shipped", nil},
		{"000-12-3456 666-12-3456 123-00-4567 123-45-0000", nil},
		{"911-89-1234", nil},
		{"078-05-1120", nil},
		{"20513 12345-6789 is a postal code", nil},
		{"1078-05-1123 078-05-112 a078-05-1123", nil},
		{"100 20 3000 400", nil},
	})
}
