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

func TestCrypto(t *testing.T) {
	checkFindings(t, []finding{
		{"send to 1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2 now", []string{"CRYPTO:1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2"}},
		{"3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy", []string{"CRYPTO:3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy"}},
		{"bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", []string{"CRYPTO:bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"}},
		{"bc1p5d7rjq7g6rdk2yhzks9smlaqtedr4dekq08ge8ztwac72sfr9rusxg3297", []string{"CRYPTO:bc1p5d7rjq7g6rdk2yhzks9smlaqtedr4dekq08ge8ztwac72sfr9rusxg3297"}},
		{"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", []string{"CRYPTO:0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"}},
		{"wallet 0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed", []string{"CRYPTO:0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"}},
		{"1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN3", nil},
		{"bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdr", nil},
		{"0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", nil},
		{"send to 0x52908400098527886E0F7030069857D2E4169EE7", []string{"CRYPTO:0x52908400098527886E0F7030069857D2E4169EE7"}},
		{"sha1 0x52908400098527886E0F7030069857D2E4169EE8", nil},
		{"sha1 0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed", nil},
	})
}

func TestKeccak(t *testing.T) {
	// The digest of the empty message, from the Keccak reference.
	want := "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
	sum := keccak256(nil)
	if got := hexOf(sum[:]); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	var out []byte
	for _, c := range b {
		out = append(out, digits[c>>4], digits[c&15])
	}
	return string(out)
}
