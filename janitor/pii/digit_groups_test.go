// SPDX-License-Identifier: Apache-2.0

package pii

import "testing"

func TestNational(t *testing.T) {
	checkFindings(t, []finding{
		{"routing number 121000358", []string{"ABA:121000358"}},
		{"NPI: 1234567893", []string{"NPI:1234567893"}},
		{"my SIN is 130-692-544", []string{"CA_SIN:130-692-544"}},
		{"TFN 876 543 210", []string{"AU_TFN:876 543 210"}},
		{"ABN 51 824 753 556", []string{"AU_ABN:51 824 753 556"}},
		{"medicare 2123 45670 1", []string{"AU_MEDICARE:2123 45670 1"}},
		{"NHS 943 476 5919", []string{"NHS:943 476 5919"}},
		{"BSN 111222333", []string{"NL_BSN:111222333"}},
		{"pesel 44051401458", []string{"PESEL:44051401458"}},
		{"NIP 526-025-09-95", []string{"PL_NIP:526-025-09-95"}},
		{"numéro fiscal 07 01 987 765 493", []string{"FR_SPI:07 01 987 765 493"}},
		{"TC kimlik 10000000146", []string{"TR_ID:10000000146"}},
		{"Steuer-ID: 12345678903", []string{"DE_TAX_ID:12345678903"}},
		{"111.444.777-35", []string{"BR_CPF:111.444.777-35"}},
		{"11.222.333/0001-81", []string{"BR_CNPJ:11.222.333/0001-81"}},
		{"personnummer 19870112-2388", nil},
		{"personnummer 198712202384", []string{"SE_PNR:198712202384"}},
		{"aadhaar 4001 2345 6787", []string{"AADHAAR:4001 2345 6787"}},
		{"RRN 960121-1234567", []string{"KR_RRN:960121-1234567"}},
		{"identity 8001015009087", []string{"ZA_ID:8001015009087"}},
		{"NIR 2 55 08 14 168 025 38", []string{"FR_NIR:2 55 08 14 168 025 38"}},
		{"255081416802538", []string{"FR_NIR:255081416802538"}},
		// Without a word, or with a wrong check digit.
		{"order 121000358 shipped", nil},
		{"routing number 121000359", nil},
		{"NHS 943 476 5918", []string{"PHONE:943 476 5918"}[:0]},
		{"value 44051401458 and 12345678903", nil},
		{"111.444.777-36 11.222.333/0001-82", nil},
		{"totals 4001 2345 6787 units", nil},
		{"pesel 44051401459", nil},
	})
}
