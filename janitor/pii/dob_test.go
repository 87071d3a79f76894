// SPDX-License-Identifier: Apache-2.0

package pii

import "testing"

func TestBirthday(t *testing.T) {
	checkFindings(t, []finding{
		{"DOB: 03/12/1980", []string{"DOB:03/12/1980"}},
		{"born 1980-03-12 in", []string{"DOB:1980-03-12"}},
		{"date of birth 12 March 1980", []string{"DOB:12 March 1980"}},
		{"born on March 12th, 1980", []string{"DOB:March 12th, 1980"}},
		{"geboren am 12.03.1980", []string{"DOB:12.03.1980"}},
		{"née le 3 déc. 1980, geboren 3. März 1975, nacido el 5 de mayo de 1990", []string{"DOB:3 déc. 1980", "DOB:3. März 1975", "DOB:5 de mayo de 1990"}},
		{"nata il 7 luglio 1961; 出生日期：1980-03-12", []string{"DOB:7 luglio 1961", "DOB:1980-03-12"}},
		{"due 03/12/1980 and 12 March 1980", nil},
		{"born 35/12/1980", nil},
		{"born 1980-03-12T10:00:00Z", nil},
	})
}
