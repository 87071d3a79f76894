// SPDX-License-Identifier: Apache-2.0

package pii

import "testing"

func TestCode(t *testing.T) {
	checkFindings(t, []finding{
		{"DNI 12345678Z", []string{"ES_NIF:12345678Z"}},
		{"NIE X1234567L", []string{"ES_NIF:X1234567L"}},
		{"12345678-Z", []string{"ES_NIF:12345678-Z"}},
		{"CF RSSMRA85T10A562S", []string{"IT_FISCAL:RSSMRA85T10A562S"}},
		{"NRIC S2740116C was", []string{"SG_FIN:S2740116C"}},
		{"hetu 131052-308T", []string{"FI_HETU:131052-308T"}},
		{"010594Y9032", []string{"FI_HETU:010594Y9032"}},
		{"PAN ABCPE1234F", []string{"IN_PAN:ABCPE1234F"}},
		{"11010519491231002X", []string{"CN_ID:11010519491231002X"}},
		{"curp HEGG560427MVZRRL04", []string{"MX_CURP:HEGG560427MVZRRL04"}},
		{"Medicare 1EG4TE5MK73", []string{"US_MBI:1EG4TE5MK73"}},
		{"DEA AB1234563", []string{"US_DEA:AB1234563"}},
		{"Krankenversicherung A123456780", []string{"DE_KVNR:A123456780"}},
		{"NI AB123456C", []string{"NINO:AB123456C"}},
		{"nino: ab 12 34 56 c", []string{"NINO:ab 12 34 56 c"}},
		// What is none.
		{"身份证号码：110105194912310011，谢谢", []string{"CN_ID:110105194912310011"}},
		{"hetu 250468-1026, TFN: 410350803, my tax file number is 926 941 955", []string{"FI_HETU:250468-1026", "AU_TFN:410350803", "AU_TFN:926 941 955"}},
		{"152057542827197", []string{"FR_NIR:152057542827197"}},
		{"110105194912310012 110105194913310021 250468-1027", nil},
		{"DNI 12345678A", nil},
		{"part 12345678Z in stock", nil},
		{"CF RSSMRA85T10A562T", nil},
		{"NRIC S2740116D was", nil},
		{"131052-308U 111111-111A", nil},
		{"BG123456A GB123456A DA123456A AB123456E", nil},
		{"commit ab123456c", nil},
		{"xNRICS2740116C", nil},
	})
}
