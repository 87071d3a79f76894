// SPDX-License-Identifier: Apache-2.0

package pii

// code is a number with letters in it, one word long.
type code struct {
	rec     int
	pattern string // A letter, 9 digit, X either; one per character
	topics  context
	sure    bool // needs no word when written in upper case
}

// Bounds of the words looked at.
const (
	minCode = 8
	maxCode = 18
)

// codesByLength indexes the table.
var codesByLength = func() (table [maxCode + 1][]code) {
	for _, c := range codes {
		table[len(c.pattern)] = append(table[len(c.pattern)], c)
	}
	return table
}()

// word looks at a word of letters and digits that begins at text[start].
func (r *scan) word(start int) {
	if start < r.wordDone {
		return
	}
	end := start
	for end < len(r.text) && isAlnum(r.text[end]) {
		end++
		if end-start > maxCode {
			break
		}
	}
	r.wordDone = end
	n := end - start
	if n > maxCode || n < minCode || joinedBefore(r.text, start) || joinedAfter(r.text, end) {
		return
	}
	var buf [maxCode]byte
	upper := true
	for i, c := range r.text[start:end] {
		if isLower(c) {
			upper = false
			c &^= 0x20
		}
		buf[i] = c
	}
	w := buf[:n]
	for _, c := range codesByLength[n] {
		if !r.on[c.rec] || !matchesPattern(w, c.pattern) || !validCode(c.rec, w) {
			continue
		}
		if c.sure && upper || r.alone(start, end) || (r.before(start)|r.after(end))&c.topics != 0 {
			r.add(start, end, builtins[c.rec].entity)
			return
		}
	}
}

// alone tells whether text[start:end] is all there is but for white space and
// quotes.
func (r *scan) alone(start, end int) bool {
	if len(r.text) > 64 || r.part {
		return false
	}
	for i, c := range r.text {
		if (i < start || i >= end) && (c > ' ' && c != '"' && c != '\'' && c != '.') {
			return false
		}
	}
	return true
}

// matchesPattern tells whether a word in upper case has the letters and digits
// of a pattern in their places.
func matchesPattern(w []byte, pattern string) bool {
	for i, c := range w {
		switch pattern[i] {
		case 'A':
			if isDigit(c) {
				return false
			}
		case '9':
			if !isDigit(c) {
				return false
			}
		}
	}
	return true
}

// codes are the numbers with letters, with the published algorithm of each.
var codes = []code{
	{recESNIF, "99999999A", ctxNIF, false},
	{recESNIF, "A9999999A", ctxNIF, false},
	{recITFiscal, "AAAAAAXXAXXAXXXA", ctxFiscal, true},
	{recSGFIN, "A9999999A", ctxFIN, true},
	{recFIHETU, "999999A999X", ctxHETU, true},
	{recINPAN, "AAAAA9999A", ctxPAN, false},
	{recCNID, "99999999999999999X", ctxCNID, true},
	{recMXCURP, "AAAA999999AAAAAAX9", ctxCURP, true},
	{recUSMBI, "9AX9AX9AA99", ctxMBI, false},
	{recUSDEA, "AX9999999", ctxDEA, false},
	{recDEKVNR, "A999999999", ctxKVNR, false},
	{recNINO, "AA999999A", ctxNINO, true},
}

// validCode applies the algorithm of a number, as (*national).valid does.
func validCode(rec int, w []byte) bool {
	switch rec {
	case recESNIF:
		return isDigit(w[0]) && validNIF(w) || !isDigit(w[0]) && validNIE(w)
	case recITFiscal:
		return validFiscal(w)
	case recSGFIN:
		return validFIN(w)
	case recFIHETU:
		return validHETUWord(w)
	case recINPAN:
		return validPAN(w)
	case recCNID:
		return validCNID(w)
	case recMXCURP:
		return validCURP(w)
	case recUSMBI:
		return validMBI(w)
	case recUSDEA:
		return validDEA(w)
	case recDEKVNR:
		return validKVNR(w)
	case recNINO:
		return validNINO(w)
	}
	return false
}

// nifLetters are the check letters of Spanish numbers by remainder.
const nifLetters = "TRWAGMYFPDXBNJZSQVHLCKE"

// validNIF: Spanish NIF: the letter is the number mod 23.
func validNIF(w []byte) bool { return nifLetters[num(w[:8])%23] == w[8] }

// validNIE: Spanish NIE: X, Y, Z stand for 0, 1, 2.
func validNIE(w []byte) bool {
	if w[0] < 'X' {
		return false
	}
	return nifLetters[(int(w[0]-'X')*10000000+num(w[1:8]))%23] == w[8]
}

// fiscalOdd are the values of characters at odd places (DM 23 December 1976).
var fiscalOdd = [26]int{1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23}

// validFiscal: Italian codice fiscale: month letter, digits (or the letters
// that replace them in homonyms) and the check letter.
func validFiscal(w []byte) bool {
	sum := 0
	for i, c := range w[:15] {
		v := 0
		if isDigit(c) {
			v = int(c - '0')
		} else {
			v = int(c - 'A')
		}
		if i%2 == 0 {
			v = fiscalOdd[v]
		}
		sum += v
	}
	digits := 0
	for _, i := range [...]int{6, 7, 9, 10, 12, 13, 14} {
		if isDigit(w[i]) {
			digits++
		}
	}
	return digits >= 3 && byte('A'+sum%26) == w[15]
}

// validFIN: Singapore NRIC and FIN: weights 2-7-6-5-4-3-2, a table of letters
// by series.
func validFIN(w []byte) bool {
	sum := weighted(w[1:], 2, 7, 6, 5, 4, 3, 2)
	switch w[0] {
	case 'S':
		return "JZIHGFEDCBA"[sum%11] == w[8]
	case 'T':
		return "JZIHGFEDCBA"[(sum+4)%11] == w[8]
	case 'F':
		return "XWUTRQPNMLK"[sum%11] == w[8]
	case 'G':
		return "XWUTRQPNMLK"[(sum+4)%11] == w[8]
	case 'M':
		return "XWUTRQPNJLK"[10-(sum+3)%11] == w[8]
	}
	return false
}

// validHETUWord: Finnish personal identity code with a letter for the century.
func validHETUWord(w []byte) bool {
	switch w[6] {
	case 'A', 'B', 'C', 'D', 'E', 'F', 'U', 'V', 'W', 'X', 'Y':
		return validHETU(w)
	}
	return false
}

// validHETU checks the date and the check character, mod 31 (DVV).
func validHETU(w []byte) bool {
	n := num(w[:6])*1000 + num(w[7:10])
	return validDate(0, num(w[2:4]), num(w[:2])) && num(w[7:10]) >= 2 && "0123456789ABCDEFHJKLMNPRSTUVWXY"[n%31] == w[10]
}

// validPAN: Indian permanent account number: the fourth letter is the kind of
// holder.
func validPAN(w []byte) bool {
	switch w[3] {
	case 'P', 'C', 'H', 'F', 'A', 'T', 'B', 'L', 'J', 'G':
		return num(w[5:9]) > 0
	}
	return false
}

// validCNID: Chinese resident identity number: region, date, ISO/IEC 7064 MOD
// 11-2 (GB 11643).
func validCNID(w []byte) bool {
	if w[0] == '0' || w[0] == '9' || num(w[6:8]) < 18 || num(w[6:8]) > 20 || !validDate(num(w[6:10]), num(w[10:12]), num(w[12:14])) {
		return false
	}
	sum := weighted(w, 7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
	return "10X98765432"[sum%11] == w[17]
}

// validCURP: Mexican CURP: date, sex, and the check digit.
func validCURP(w []byte) bool {
	if w[10] != 'H' && w[10] != 'M' && w[10] != 'X' || !validDate(0, num(w[6:8]), num(w[8:10])) {
		return false
	}
	sum := 0
	for i, c := range w[:17] {
		v := int(c - '0')
		if !isDigit(c) {
			v = int(c-'A') + 10
			if c > 'N' {
				v++ // Ñ stands between N and O
			}
		}
		sum += v * (18 - i)
	}
	return (10-sum%10)%10 == int(w[17]-'0')
}

// validMBI: US Medicare beneficiary identifier: no S, L, O, I, B or Z, first
// digit not 0 (CMS).
func validMBI(w []byte) bool {
	for _, c := range w {
		switch c {
		case 'S', 'L', 'O', 'I', 'B', 'Z':
			return false
		}
	}
	return w[0] != '0'
}

// validDEA: US Drug Enforcement Administration registration number.
func validDEA(w []byte) bool {
	d := w[2:]
	return (weighted(d, 1, 0, 1, 0, 1)+2*weighted(d, 0, 1, 0, 1, 0, 1))%10 == int(d[6]-'0')
}

// validKVNR: German health insurance number: the letter as two digits, then
// weights 1 and 2 with cross sums, mod 10.
func validKVNR(w []byte) bool {
	letter := int(w[0]-'A') + 1
	sum := letter/10 + cross(letter%10*2)
	for i, c := range w[1:9] {
		v := int(c - '0')
		if i%2 == 1 {
			v *= 2
		}
		sum += cross(v)
	}
	return sum%10 == int(w[9]-'0')
}

// cross is the sum of the digits of a number below 100.
func cross(n int) int { return n/10 + n%10 }

// validNINO: UK national insurance number: the prefixes of HMRC's NIM39110.
func validNINO(w []byte) bool {
	for _, c := range w[:2] {
		switch c {
		case 'D', 'F', 'I', 'Q', 'U', 'V':
			return false
		}
	}
	switch string(w[:2]) {
	case "BG", "GB", "KN", "NK", "NT", "TN", "ZZ":
		return false
	}
	return w[1] != 'O' && w[8] >= 'A' && w[8] <= 'D'
}
