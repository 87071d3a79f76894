// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestCard(t *testing.T) {
	checkFindings(t, []finding{
		{"4111111111111111 5555555555554444", []string{"CARD:4111111111111111", "CARD:5555555555554444"}},
		{"visa 4012888888881881, done", []string{"CARD:4012888888881881"}},
		{"4012 8888 8888 1881 exp 12/27 cvv 123", []string{"CARD:4012 8888 8888 1881"}},
		{"4012-8888-8888-1881.", []string{"CARD:4012-8888-8888-1881"}},
		{"amex 3782 822463 10005", []string{"CARD:3782 822463 10005"}},
		{"378282246310005", []string{"CARD:378282246310005"}},
		{"2223003122003222 and 6011000990139424", []string{"CARD:2223003122003222", "CARD:6011000990139424"}},
		{"credit card 30569309025904", []string{"CARD:30569309025904"}},
		{"card number 40 1288 8888 8818 81", []string{"CARD:40 1288 8888 8818 81"}},
		{`{"number":"4012888888881881"}`, []string{"CARD:4012888888881881"}},
		{"4012888888881881 4012888888881881", []string{"CARD:4012888888881881", "CARD:4012888888881881"}},
		// What is none.
		{"4012888888881882", nil},                                        // check digit
		{"order 30569309025904 shipped", nil},                            // a length that needs a word
		{"9012888888881889", nil},                                        // no such brand
		{"0.4012888888881881 and 14012888888881881", nil},                // a fraction, a longer number
		{"4012888888881881abc x4012888888881881 _4012888888881881", nil}, // parts of words
		{"1732292401123456 1732292401123 20261122183000", nil},           // times
		{"2005 2006 2007 2008 2009 2010 2011 2012", nil},                 // a row of years
		{"ISBN 978-3-16-148410-0", nil},
		{"row 4111 2222 3333 4444 4111 1111 1111 1111 4111 1111", nil}, // a table
		{"lifetime 2592000000000000", nil},
	})
}

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

func TestPhone(t *testing.T) {
	checkFindings(t, []finding{
		{"+14155550132 +1 (415) 555-0132 +49 30 901820", []string{"PHONE:+14155550132", "PHONE:+1 (415) 555-0132", "PHONE:+49 30 901820"}},
		{"+44 (0)20 7946 0958.", []string{"PHONE:+44 (0)20 7946 0958"}},
		{"(+33) 6 12 34 56 78", []string{"PHONE:(+33) 6 12 34 56 78"}},
		{"call 415-555-0132 x123 now", []string{"PHONE:415-555-0132 x123"}},
		{"(415)555-0132, ext. 42", []string{"PHONE:(415)555-0132, ext. 42"}},
		{"1-800-555-0199", []string{"PHONE:1-800-555-0199"}},
		{"415.555.0132", []string{"PHONE:415.555.0132"}},
		{"phone 415 555 0132", []string{"PHONE:415 555 0132"}},
		{"030-901820123 and 0171/1234567", []string{"PHONE:030-901820123", "PHONE:0171/1234567"}},
		{"Tel: 06 12 34 56 78", []string{"PHONE:06 12 34 56 78"}},
		{"785 8949 office", []string{"PHONE:785 8949"}},
		{"001-748-088-2851", []string{"PHONE:001-748-088-2851"}},
		{"phone: 2813882583", []string{"PHONE:2813882583"}},
		{"手机 13912345678", []string{"PHONE:13912345678"}},
		{"4155550132", []string{"PHONE:4155550132"}}, // nothing but a number
		{"joignable au 06 12 34 56 78 de 9h à 17h", []string{"PHONE:06 12 34 56 78"}},
		{"text 07400 123456 or 020 7946 0958, not 0412 345 678!", []string{"PHONE:07400 123456", "PHONE:020 7946 0958", "PHONE:0412 345 678"}},
		{"left (020) 7946 0958 and (11) 91234-5678; (495) 123-45-67", []string{"PHONE:(020) 7946 0958", "PHONE:(11) 91234-5678", "PHONE:(495) 123-45-67"}},
		{"tél. 01.45.67.89.10, sinon 06.12.34.56.78 merci", []string{"PHONE:01.45.67.89.10", "PHONE:06.12.34.56.78"}},
		{"aus dem Ausland 0049 30 901820 oder 0041 44 668 18 00.", []string{"PHONE:0049 30 901820", "PHONE:0041 44 668 18 00"}},
		{"her number is 0470 12 345 67, 138 1234 5678 is mine", []string{"PHONE:0470 12 345 67", "PHONE:138 1234 5678"}},
		{"我的手机号是13912345678，电话：010-62781234。", []string{"PHONE:13912345678", "PHONE:010-62781234"}},
		{"Телефон: 916 123-45-67", []string{"PHONE:916 123-45-67"}},
		// What is none.
		{"<fraction> 0032 2044 0033 and 0010 0020 0030 0040 0050 and 0012 345 678 901 234 567 and 0049 12 cd 0049 44 668 18 00 55 66 77", nil},
		{"v06.12.34.56.78 1.06.12.34.56.78 06.12.34.56.78.90 01.02.03.04.05 06.12.34 56 78", nil},
		{"00000140  06 74 10 79 17 cd 3a 1d  db 31", nil},
		{"01 02 03 04 05 and 06 12 34 56 78 90 and 0412 345 678 901", nil},
		{"CA +4612-05957 America/Halifax, US +394421-1045903", nil},
		{"https://doi.org/10.1016/0020-0190(88)90066-X Applied Statistics 31 (1982) 188-190, call it", nil},
		{"portable = 1048576; a call took 0.000410; phone heap 256000000; zip 10021-3100 office", nil},
		{"caller arn:aws:iam::123456789012:role phone", nil},
		{"512 768 1024 and 256 512 1024", nil},
		{"2012-01-02 08:00 20120102 03/27/2011 31.8.2011", nil},
		{"phone call on 2012-01-02", nil},
		{"123e4567-e89b-12d3-a456-426614174000", nil},
		{"+0200 +00:00 1+14155550132 x+14155550132", nil},
		{"+999 123 456 789", nil}, // no such country
		{"call 1700000000 seconds later", nil},
		{"dial_timeout: 3000000000", nil},
		{"$415-555-0132", nil},
		{"192.168.1.1/255.255.255.0", nil},
	})
}

func TestIP(t *testing.T) {
	checkFindings(t, []finding{
		{"from 81.2.69.142 port 22", []string{"IP:81.2.69.142"}},
		{"http://81.2.69.142:8080/ [2001:4860:4860::8888]:53", []string{"IP:81.2.69.142", "IP:2001:4860:4860::8888"}},
		{"81.2.69.142/24, ip=81.2.69.143.", []string{"IP:81.2.69.142", "IP:81.2.69.143"}},
		{"8.8.8.8 and 1.1.1.1", []string{"IP:8.8.8.8", "IP:1.1.1.1"}},
		{"host 5.6.7.8", []string{"IP:5.6.7.8"}},
		{"::ffff:81.2.69.142", []string{"IP:::ffff:81.2.69.142"}},
		{"4f8a:c99e:dc86:faf9:5988:5f63:375e:8a2a", []string{"IP:4f8a:c99e:dc86:faf9:5988:5f63:375e:8a2a"}},
		{"upgrade the server 5.34.120.9, from 20.11.4.3 port 22, 34.8.50.120 x", []string{"IP:5.34.120.9", "IP:20.11.4.3", "IP:34.8.50.120"}},
		{"5.34.120.99 - - [10/Oct/2025] 34.8.5.120, 2.5.29.14:443, 20.11.4.3", []string{"IP:5.34.120.99", "IP:34.8.5.120", "IP:2.5.29.14"}},
		// What is none.
		{"deps: update V8 to 5.9.211.32, Cabal-2.2.10.110, from linux-2.6.35.4/arch", nil},
		{`ObjectIdentifier("2.5.29.14") OID_EDDSA = '1.3.101.112'`, nil},
		{"// 20.11.4.3 specialization, opencv_python\t4.14.0.94, 0111 18c0 1.52 2.12 3.51.98.32 2.03.5 3.11", nil},
		{"10.0.0.1 172.16.3.4 192.168.1.1 127.0.0.1 169.254.1.1 100.64.0.1", nil},
		{"192.0.2.1 198.51.100.7 203.0.113.9 0.0.0.0 255.255.255.255 224.0.0.1", nil},
		{"::1 fe80::1 2001:db8::1 fd00::1 ff02::1 :: ::ffff:10.0.0.1", nil},
		{"v81.2.69.142 version 81.2.69.142 ==81.2.69.142 Chrome/81.2.69.142 >=81.2.69.142", nil},
		{"section 5.2.1.3, RFC 5280, 4.2.1.10, OID 1.3.6.1.4.1, 2.5.4.10", nil},
		{"256.1.1.1 1.2.3 81.02.69.142 81.2.69.142.5 libx.so.81.2.69.142", nil},
		{"std::vector a::b 12:34:56 1:2 ab::cd dead:beef", nil},
		{"1:2:3:4:5:6:7 1::2::3 12345::1", nil},
	})
	private := scanner(t, Options{Recognizers: []string{"ip_private"}})
	if got := found(private, "10.1.2.3 81.2.69.142 fe80::1"); !slices.Equal(got, []string{"IP:10.1.2.3", "IP:fe80::1"}) {
		t.Errorf("private only: %q", got)
	}
}

func TestMAC(t *testing.T) {
	checkFindings(t, []finding{
		{"ether 00:1a:2b:3c:4d:5e txqueuelen", []string{"MAC:00:1a:2b:3c:4d:5e"}},
		{"AA-BB-CC-DD-EE-FF", []string{"MAC:AA-BB-CC-DD-EE-FF"}},
		{"02:00:5e:10:00:00:00:01", []string{"MAC:02:00:5e:10:00:00:00:01"}},
		{"0012.3456.789a", []string{"MAC:0012.3456.789a"}},
		{"ff:ff:ff:ff:ff:ff 00:00:00:00:00:00", nil},
		{"16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48", nil}, // a fingerprint
		{"12-34-56-78-90-12 2024-01-02-03-04-05", nil},
		{"00:1a:2b:3c:4d 00:1a:2b:3c:4d:5g", nil},
	})
}

// TestLuhnFindsEveryWrongDigit is the property the check digit is for.
func TestLuhnFindsEveryWrongDigit(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		d := make([]byte, 16)
		for i := range d {
			d[i] = byte('0' + rnd.IntN(10))
		}
		for d[15] = '0'; !luhn(d); d[15]++ {
		}
		for i := range d {
			was := d[i]
			for c := byte('0'); c <= '9'; c++ {
				if d[i] = c; luhn(d) != (c == was) {
					t.Fatalf("%s: digit %d as %c", d, i, c)
				}
			}
			d[i] = was
		}
	}
}
