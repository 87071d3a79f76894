// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestIBAN(t *testing.T) {
	checkFindings(t, []finding{
		{"GB82WEST12345698765432", []string{"IBAN:GB82WEST12345698765432"}},
		{"IBAN: DE89 3704 0044 0532 0130 00, BIC COBADEFF", []string{"IBAN:DE89 3704 0044 0532 0130 00"}},
		{"FR1420041010050500013M02606 NL91ABNA0417164300", []string{"IBAN:FR1420041010050500013M02606", "IBAN:NL91ABNA0417164300"}},
		{"my iban is de89370400440532013000", []string{"IBAN:de89370400440532013000"}},
		{"MT84MALT011000012345MTLCAST001S", []string{"IBAN:MT84MALT011000012345MTLCAST001S"}},
		{"GB82-WEST-1234-5698-7654-32", []string{"IBAN:GB82-WEST-1234-5698-7654-32"}},
		{"GB83WEST12345698765432", nil},                            // check digits
		{"GB82WEST1234569876543", nil},                             // too short
		{"GB82WEST123456987654321", nil},                           // too long
		{"ZZ82WEST12345698765432", nil},                            // no such country
		{"XGB82WEST12345698765432", nil},                           // part of a word
		{"req_id=be69036dee5d1fe7", nil},                           // hexadecimal, and mod 97 is right
		{"GB82 WEST 1234 5698 7654 3", nil},                        // cut off
		{"de89370400440532013000 " + strings.Repeat("x", 80), nil}, // lower case without a word
	})
}

func TestEveryIBANCountry(t *testing.T) {
	s := scanner(t, Options{})
	for country, length := range ibanLength {
		if length < 15 || length > maxIBAN {
			t.Errorf("%s: length %d", country[:], length)
		}
		iban := []byte(string(country[:]) + "00" + strings.Repeat("7", length-4))
		check := 98 - mod97(iban)
		copy(iban[2:], fmt.Sprintf("%02d", check))
		if got := found(s, string(iban)); !slices.Equal(got, []string{"IBAN:" + string(iban)}) {
			t.Errorf("%s: %q", iban, got)
		}
	}
}
