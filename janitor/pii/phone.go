// SPDX-License-Identifier: Apache-2.0

package pii

// EntityPhone labels phone numbers.
const EntityPhone Entity = "PHONE"

var phone = builtin{
	name:   "phone",
	entity: EntityPhone,
	rank:   1,
	doc:    "Phone numbers: international with a valid country code (ITU-T E.164), North American 3-3-4 groups, the national groupings of some thirty countries; other forms only beside a word such as phone, call or fax, in one of a dozen languages.",
	words: topic("phone phones telephone tel mobile cellphone fax whatsapp sms landline hotline voicemail pager telefon telefonnummer "+
		"mobil mobilnummer rufnummer handynummer téléphone tél Tél teléfono telefono celular móvil movil cellulare telefoon "+
		"telefoonnummer komórka puhelin telefone telemóvel contacto ph mob msisdn phonenumber telephonenumber mobilenumber "+
		"телефон Телефон телефону тел Тел моб τηλέφωνο Τηλέφωνο κινητό هاتف جوال फोन मोबाइल โทร", "电话 電話 手机 手機 传真 携帯 전화 휴대폰"),
	match: []string{
		"call «415-555-0132 x123» now",
		"«+49 30 901820»",
		"joignable au «06 12 34 56 78» de 9h à 17h",
		"phone: «2813882583»",
	},
	noMatch: []string{
		"rows 01 02 03 04 05 and so on",
		"call 1700000000 seconds later",
		"+999 123 456 789",
	},
}

// callWords are used of phones among much else.
var callWords = topic("call calling called dial ring answering reach office cell cellular contact handy portable rückruf Rückruf anruf anrufen " +
	"rufen appelez appeler llámame llamar ligue звоните позвоните")

// numberWords announce numbers of all kinds.
var numberWords = topic("number nummer numéro número numero номер", "号码")

// maxPhone is the most digits of an international number with "00" or "011"
// before it (ITU-T E.164: 15).
const maxPhone = 18

// phone looks for a phone number that begins with group i and returns the
// number of its groups. The forms, from the surest to those that need a word:
// "+" and a country code, "00" and a country code in groups, the North American
// 3-3-4, a national number with a leading 0 in groups, anything beside a word
// such as "phone".
func (r *scan) phone(c *chain, i int) int {
	start := c.g[i].start
	switch prev := byteAt(c.text, start-1); prev {
	case '+':
		return r.internationalPhone(c, i)
	case '$', '#', '=', '*', '<', '>', '%', ',':
		if prev != ',' && prev != '=' && prev != '>' {
			return 0
		}
	case '(':
		if byteAt(c.text, start-2) == '+' {
			return r.internationalPhone(c, i)
		}
	}
	k, first, zero := 0, c.g[i].len(), c.text[start] == '0'
	if first == 3 || first == 1 {
		k = r.nanpPhone(c, i)
	}
	if k == 0 && zero {
		if k = r.exitCodePhone(c, i); k == 0 {
			k = r.trunkPhone(c, i)
		}
	}
	if k == 0 {
		k = c.nationalPhone(i)
	}
	if k == 0 {
		k = r.phoneByContext(c, i)
	}
	if k > 0 {
		r.addPhone(c, i, k)
	}
	return k
}

// addPhone records groups i to i+k-1, with the parenthesis or plus sign before
// and the extension after them.
func (r *scan) addPhone(c *chain, i, k int) {
	start, end := c.g[i].start, c.g[i+k-1].end
	if byteAt(c.text, start-1) == '(' && parenCloses(c.text, start) {
		start--
	}
	if byteAt(c.text, start-1) == '+' {
		start--
		if byteAt(c.text, start-1) == '(' && parenCloses(c.text, start) {
			start--
		}
	}
	r.add(start, extension(c.text, end), EntityPhone)
}

// parenCloses reports whether a parenthesis closes within the next few bytes,
// as around an area code.
func parenCloses(text []byte, i int) bool {
	for j := i; j < len(text) && j < i+7; j++ {
		if text[j] == ')' {
			return true
		}
	}
	return false
}

// freeBefore reports whether a number stands by itself: after white space or
// punctuation that introduces a value.
func freeBefore(text []byte, i int) bool {
	switch c := byteAt(text, i-1); c {
	case '(':
		return freeBefore(text, i-1)
	case ':', ',', ';', '"', '\'', '>', '=', '|', '`', 0:
		return true
	default:
		return c <= ' ' || c >= 0x80 || escapeBefore(text, i) > 0
	}
}

// endsPhone is ends, and allows an extension after the number.
func (c *chain) endsPhone(i int) bool {
	return c.ends(i) || i == c.n-1 && extension(c.text, c.g[i].end) > c.g[i].end
}

// extension returns the end of an extension such as "x818" or ", ext. 42" that
// follows text[:end], or end.
func extension(text []byte, end int) int {
	i := end
	for i < len(text) && i-end < 3 && (text[i] == ' ' || text[i] == ',') {
		i++
	}
	word := i
	for i < len(text) && i-word <= 9 && isAlpha(text[i]) {
		i++
	}
	switch {
	case equalFold(text[word:i], "x"), equalFold(text[word:i], "ext"), equalFold(text[word:i], "extension"), equalFold(text[word:i], "int"):
	default:
		return end
	}
	for k := 0; k < 2 && (byteAt(text, i) == '.' || byteAt(text, i) == ' ' || byteAt(text, i) == ':'); k++ {
		i++
	}
	digits := i
	for i < len(text) && i-digits < 7 && isDigit(text[i]) {
		i++
	}
	if i == digits || isWord(byteAt(text, i)) {
		return end
	}
	return i
}
