// SPDX-License-Identifier: Apache-2.0

package pii

import "testing"

func TestDocuments(t *testing.T) {
	checkFindings(t, []finding{
		{"passport X1234567 issued", []string{"PASSPORT:X1234567"}},
		{"Reisepass Nr. C01X00T47", []string{"PASSPORT:C01X00T47"}},
		{"护照号：KB0686167", []string{"PASSPORT:KB0686167"}},
		{"passport c01x00t47 and Reisepass ABCDEF123", nil},
		{"passport number is 123456789", []string{"PASSPORT:123456789"}},
		{"my driver's license is A56319335", []string{"DRIVER_LICENSE:A56319335"}},
		{"Apache License 2.0, 20040101", nil},
		{"the driver loaded 12345678 rows", nil},
		{"Licence: GPL-2+\nFiles: test-driver\nCopyright: 2011-2020, 2021-01-15", nil},
		{"passport 1994-1999", nil},
		{"order X1234567", nil},
	})
}
