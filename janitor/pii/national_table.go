// SPDX-License-Identifier: Apache-2.0

package pii

// nationals are the numbers of digits only, with the published algorithm of
// each. In ambiguous texts the earlier entry wins.
var nationals = []national{
	{recABA, "9 4-4-1", ctxABA},
	{recNPI, "10 4-3-3", ctxNPI},
	{recCASIN, "3_3_3 9", ctxCASIN},
	{recAUTFN, "9 3_3_3 8", ctxAUTFN},
	{recAUABN, "11 2_3_3_3", ctxAUABN},
	{recAUMedicare, "10 4_5_1", ctxMedicare},
	{recNHS, "10 3_3_4", ctxNHS},
	{recNLBSN, "9 4.2.3", ctxBSN},
	{recPESEL, "11", ctxPESEL},
	{recPLNIP, "10 3-3-2-2 3-2-2-3", ctxNIP},
	{recFRSPI, "13 2_2_3_3_3", ctxSPI},
	{recTRID, "11", ctxTRID},
	{recDETaxID, "11 2_3_3_3", ctxDETax},
	{recBRCPF, "11 !3.3.3-2", ctxCPF},
	{recBRCNPJ, "14 !2.3.3/4-2", ctxCNPJ},
	{recSEPNR, "10 12 6-4 8-4", ctxSEPNR},
	{recAadhaar, "12 4_4_4", ctxAadhaar},
	{recZAID, "13", ctxZAID},
	{recKRRRN, "13 !6-7", ctxKRRRN},
	{recFRNIR, "!15 !1_2_2_2_3_3_2 !13_2", ctxFRNIR},
	{recCNID, "!18", ctxCNID},
	{recFIHETU, "6-4", ctxHETU},
}

// valid applies the algorithm of the number. A switch, not a field of the
// table: calls through a field would move the digits to the heap.
func (n *national) valid(d []byte) bool {
	switch n.rec {
	case recABA:
		return validABA(d)
	case recNPI:
		return validNPI(d)
	case recCASIN:
		return validSIN(d)
	case recAUTFN:
		return validTFN(d)
	case recAUABN:
		return validABN(d)
	case recAUMedicare:
		return validMedicare(d)
	case recNHS:
		return validNHS(d)
	case recNLBSN:
		return validBSN(d)
	case recPLNIP:
		return validNIP(d)
	case recFRSPI:
		return validSPI(d)
	case recPESEL:
		return validPESEL(d)
	case recTRID:
		return validTRID(d)
	case recDETaxID:
		return validDETaxID(d)
	case recBRCPF:
		return validCPF(d)
	case recBRCNPJ:
		return validCNPJ(d)
	case recSEPNR:
		return validPersonnummer(d)
	case recAadhaar:
		return validAadhaar(d)
	case recZAID:
		return validZAID(d)
	case recKRRRN:
		return validRRN(d)
	case recFRNIR:
		return validNIR(d)
	case recCNID:
		return validCNID(d)
	case recFIHETU:
		var w [11]byte
		copy(w[:], d[:6])
		w[6] = '-'
		copy(w[7:], d[6:])
		return validHETU(w[:])
	}
	return false
}

// validABA: American Bankers Association routing number: Federal Reserve
// prefixes, weights 3-7-1, mod 10.
func validABA(d []byte) bool {
	p := num(d[:2])
	return (p <= 12 || p >= 21 && p <= 32 || p >= 61 && p <= 72 || p == 80) &&
		weighted(d, 3, 7, 1, 3, 7, 1, 3, 7, 1)%10 == 0
}

// validNPI: US National Provider Identifier: 10 digits, first 1 or 2, Luhn
// with the prefix 80840 (45 CFR 162.406).
func validNPI(d []byte) bool {
	if d[0] != '1' && d[0] != '2' {
		return false
	}
	var buf [15]byte
	copy(buf[:], "80840")
	copy(buf[5:], d)
	return luhn(buf[:])
}

// validSIN: Canadian social insurance number: Luhn, first digit not 0 or 8.
func validSIN(d []byte) bool { return d[0] != '0' && d[0] != '8' && luhn(d) }

// validTFN: Australian tax file number: 8 or 9 digits, weighted, mod 11.
func validTFN(d []byte) bool {
	if len(d) == 8 {
		return weighted(d, 10, 7, 8, 4, 6, 3, 5, 1)%11 == 0
	}
	return len(d) == 9 && weighted(d, 1, 4, 3, 7, 5, 8, 6, 9, 10)%11 == 0
}

// validABN: Australian business number: first digit less one, weighted, mod 89.
func validABN(d []byte) bool {
	return d[0] != '0' && (weighted(d, 10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19)-10)%89 == 0
}

// validMedicare: Australian Medicare card: first digit 2-6, ninth is the
// check digit.
func validMedicare(d []byte) bool {
	return d[0] >= '2' && d[0] <= '6' && weighted(d, 1, 3, 7, 9, 1, 3, 7, 9)%10 == int(d[8]-'0')
}

// validNHS: UK National Health Service number: mod 11 (NHS Data Dictionary).
func validNHS(d []byte) bool {
	check := 11 - weighted(d, 10, 9, 8, 7, 6, 5, 4, 3, 2)%11
	return check != 10 && check%11 == int(d[9]-'0')
}

// validBSN: Dutch citizen service number: the eleven test with the last
// weight negative.
func validBSN(d []byte) bool { return weighted(d, 9, 8, 7, 6, 5, 4, 3, 2, -1)%11 == 0 }

// validPESEL: Polish PESEL: a date with the century in the month, mod 10.
func validPESEL(d []byte) bool {
	month := num(d[2:4])
	year := 1900 + num(d[:2])
	switch {
	case month > 80:
		year, month = year-100, month-80
	case month > 60:
		year, month = year+300, month-60
	case month > 40:
		year, month = year+200, month-40
	case month > 20:
		year, month = year+100, month-20
	}
	// Rows of issued numbers with impossible dates exist; the checksum rules.
	_ = year
	return month <= 12 && num(d[4:6]) <= 31 && weighted(d, 1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)%10 == 0
}

// validNIP: Polish tax number: weights mod 11.
func validNIP(d []byte) bool { return weighted(d, 6, 5, 7, 2, 3, 4, 5, 6, 7)%11 == int(d[9]-'0') }

// validSPI: French tax number: first digit 0-3, the key is the first ten
// digits mod 511.
func validSPI(d []byte) bool { return d[0] <= '3' && num(d[:10])%511 == num(d[10:]) }

// validTRID: Turkish identity number: two check digits.
func validTRID(d []byte) bool {
	if d[0] == '0' {
		return false
	}
	odd := weighted(d, 1, 0, 1, 0, 1, 0, 1, 0, 1)
	even := weighted(d, 0, 1, 0, 1, 0, 1, 0, 1)
	return ((odd*7-even)%10+10)%10 == int(d[9]-'0') && (odd+even+int(d[9]-'0'))%10 == int(d[10]-'0')
}

// validDETaxID: German tax identification number: first digit not 0, of the
// first ten digits one or two are missing, ISO/IEC 7064 MOD 11,10.
func validDETaxID(d []byte) bool {
	if d[0] == '0' {
		return false
	}
	var count [10]int
	for _, c := range d[:10] {
		count[c-'0']++
	}
	for _, n := range count {
		if n > 3 {
			return false
		}
	}
	return mod1110(d)
}

// mod1110 checks ISO/IEC 7064 MOD 11,10.
func mod1110(d []byte) bool {
	product := 10
	for _, c := range d[:len(d)-1] {
		sum := (int(c-'0') + product) % 10
		if sum == 0 {
			sum = 10
		}
		product = sum * 2 % 11
	}
	return (11-product)%10 == int(d[len(d)-1]-'0')
}

// validCPF: Brazilian CPF: two check digits, mod 11.
func validCPF(d []byte) bool {
	return brCheck(weighted(d, 10, 9, 8, 7, 6, 5, 4, 3, 2)) == d[9] &&
		brCheck(weighted(d, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2)) == d[10]
}

// validCNPJ: Brazilian CNPJ: two check digits, mod 11.
func validCNPJ(d []byte) bool {
	return brCheck(weighted(d, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)) == d[12] &&
		brCheck(weighted(d, 6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)) == d[13]
}

// brCheck is the check digit of a weighted sum in Brazil.
func brCheck(sum int) byte {
	if rest := sum % 11; rest >= 2 {
		return byte('0' + 11 - rest)
	}
	return '0'
}

// validPersonnummer: Swedish personal identity number: a date (the day plus
// 60 in a coordination number) and Luhn over the last ten digits.
func validPersonnummer(d []byte) bool {
	year := 0
	if len(d) == 12 {
		if c := num(d[:2]); c < 18 || c > 20 {
			return false
		}
		year = num(d[:4])
		d = d[2:]
	}
	day := num(d[4:6])
	if day > 60 {
		day -= 60
	}
	return validDate(year, num(d[2:4]), day) && luhn(d)
}

// verhoeffProduct and verhoeffPermute are the dihedral group of order ten and
// the permutation of Verhoeff (1969).
var verhoeffProduct = [10][10]byte{
	{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, {1, 2, 3, 4, 0, 6, 7, 8, 9, 5}, {2, 3, 4, 0, 1, 7, 8, 9, 5, 6},
	{3, 4, 0, 1, 2, 8, 9, 5, 6, 7}, {4, 0, 1, 2, 3, 9, 5, 6, 7, 8}, {5, 9, 8, 7, 6, 0, 4, 3, 2, 1},
	{6, 5, 9, 8, 7, 1, 0, 4, 3, 2}, {7, 6, 5, 9, 8, 2, 1, 0, 4, 3}, {8, 7, 6, 5, 9, 3, 2, 1, 0, 4},
	{9, 8, 7, 6, 5, 4, 3, 2, 1, 0},
}

var verhoeffPermute = func() (p [8][10]byte) {
	p[0] = [10]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
	p[1] = [10]byte{1, 5, 7, 6, 2, 8, 3, 0, 9, 4}
	for i := 2; i < 8; i++ {
		for j := range 10 {
			p[i][j] = p[i-1][p[1][j]]
		}
	}
	return p
}()

// validAadhaar: Indian Aadhaar: first digit 2-9, no palindrome, Verhoeff.
func validAadhaar(d []byte) bool {
	if d[0] < '2' {
		return false
	}
	check := byte(0)
	palindrome := true
	for i := range d {
		c := d[len(d)-1-i]
		palindrome = palindrome && c == d[i]
		check = verhoeffProduct[check][verhoeffPermute[i%8][c-'0']]
	}
	return check == 0 && !palindrome
}

// validRRN: Korean resident registration number: a date and a digit for sex
// and century. Numbers given since October 2020 have no check digit, so it
// cannot be asked for.
func validRRN(d []byte) bool {
	return d[6] >= '1' && d[6] <= '8' && validDate(0, num(d[2:4]), num(d[4:6]))
}

// validZAID: South African identity number: a date, citizenship 0-2, Luhn.
func validZAID(d []byte) bool {
	return validDate(0, num(d[2:4]), num(d[4:6])) && d[10] <= '2' && luhn(d)
}

// validNIR: French social security number: sex, year, month, place, and the
// key, 97 less the remainder.
func validNIR(d []byte) bool {
	month := num(d[3:5])
	return (d[0] == '1' || d[0] == '2') && (month >= 1 && month <= 12 || month >= 20 && month <= 42 || month >= 50) &&
		97-mod97Digits(d[:13]) == num(d[13:15])
}
