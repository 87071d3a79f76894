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
