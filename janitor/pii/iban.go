// SPDX-License-Identifier: Apache-2.0

package pii

// EntityIBAN labels international bank account numbers.
const EntityIBAN Entity = "IBAN"

var iban = builtin{
	name:   "iban",
	entity: EntityIBAN,
	rank:   -3,
	doc:    "International bank account numbers: country lengths of the SWIFT IBAN registry, check digits mod 97 (ISO 13616), together or in groups.",
	words:  topic("iban account bank konto compte cuenta conto rekening"),
	match: []string{
		"«GB82WEST12345698765432»",
		"IBAN: «DE89 3704 0044 0532 0130 00», BIC COBADEFF",
	},
	noMatch: []string{
		"GB83WEST12345698765432",
		"req_id=be69036dee5d1fe7",
	},
}

// ibanLength gives the length of a country's account numbers, from the SWIFT
// IBAN registry (release 99) and the experimental ones in use; zero for
// countries without.
var ibanLength = func() map[[2]byte]int {
	const table = "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 " +
		"ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 " +
		"LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 " +
		"RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30 " +
		"AO25 BF28 BJ28 CF27 CG27 CI28 CM27 CV25 DZ26 GA27 GQ27 GW25 IR26 KM27 MA28 MG27 ML28 MZ25 NE28 SN28 TD27 TG28"
	lengths := make(map[[2]byte]int)
	for i := 0; i+4 <= len(table); i += 5 {
		lengths[[2]byte{table[i], table[i+1]}] = int(table[i+2]-'0')*10 + int(table[i+3]-'0')
	}
	return lengths
}()

// numericIBAN lists countries with digits alone after the country code.
var numericIBAN = func() map[[2]byte]bool {
	const table = "AE AT BA BE CR CZ DE DK EE ES FI FO GL HR HU IL IS LT ME NO PL PT RS SE SI SK TL TN XK VA MR LY"
	set := make(map[[2]byte]bool)
	for i := 0; i+2 <= len(table); i += 3 {
		set[[2]byte{table[i], table[i+1]}] = true
	}
	return set
}()

// maxIBAN is the longest length in the table.
const maxIBAN = 33

// iban looks for an account number that begins with two letters at
// text[start:p] and digits from text[p] on (ISO 13616). The length comes from
// the country, so the check digits are computed once.
func (r *scan) iban(start, p int) {
	text := r.text
	if !isDigit(byteAt(text, p+1)) {
		return
	}
	country := [2]byte{text[start] &^ 0x20, text[start+1] &^ 0x20}
	length := ibanLength[country]
	if length == 0 {
		return
	}
	var buf [maxIBAN]byte // in capitals, without spaces and hyphens
	buf[0], buf[1] = country[0], country[1]
	n, i, gaps := 2, p, 0
	letters := uint8(0) // classes of the letters after the country code
	for i < len(text) && n < length {
		c := text[i]
		switch {
		case isDigit(c):
			buf[n] = c
			n++
		case isAlpha(c):
			buf[n] = c &^ 0x20
			letters |= class[c]
			n++
		case (c == ' ' || c == '-') && n >= 4 && isAlnum(byteAt(text, i+1)) && gaps < 12:
			gaps++
		default:
			return
		}
		i++
	}
	if n < length || isAlnum(byteAt(text, i)) || joinedAfter(text, i) || mod97(buf[:n]) != 1 {
		return
	}
	// Hexadecimal identifiers are long, many and in lower case; the numbers of
	// most countries whose letters are hexadecimal have no letters at all.
	kinds := class[text[start]] | class[text[start+1]] | letters
	low, up := kinds&clsLower != 0, kinds&clsUpper != 0
	if low && (up || gaps == 0 && r.topicsBefore(start)&iban.words == 0 && !r.aloneInText(start, i)) || letters != 0 && numericIBAN[country] {
		return
	}
	r.add(start, i, EntityIBAN)
}

// mod97 is the remainder of an account number with its first four characters
// moved to the end and letters counted as 10 to 35 (ISO/IEC 7064).
func mod97(iban []byte) int {
	rest := 0
	for k := range iban {
		c := iban[(k+4)%len(iban)]
		if isDigit(c) {
			rest = (rest*10 + int(c-'0')) % 97
		} else {
			rest = (rest*100 + int(c-'A') + 10) % 97
		}
	}
	return rest
}
