// SPDX-License-Identifier: Apache-2.0

package pii

// maxPhone is the most digits of an international number with a "00" or
// "011" in front (ITU-T E.164: 15).
const maxPhone = 18

// phone looks for a phone number that begins with group i and returns how
// many groups it takes. The forms, from the surest to those that need a word:
// "+" and a country code, "00" and a country code in groups, the North
// American 3-3-4, a national number with a leading 0 in groups, anything
// beside a word such as "phone".
func (r *scan) phone(c *chain, i int) int {
	start := c.g[i].start
	switch prev := at(c.text, start-1); prev {
	case '+':
		return r.international(c, i)
	case '$', '#', '=', '*', '<', '>', '%', ',':
		if prev != ',' && prev != '=' && prev != '>' {
			return 0
		}
	case '(':
		if at(c.text, start-2) == '+' {
			return r.international(c, i)
		}
	}
	k, first, zero := 0, c.g[i].len(), c.text[start] == '0'
	if first == 3 || first == 1 {
		k = r.nanp(c, i)
	}
	if k == 0 && zero {
		if k = r.prefixed(c, i); k == 0 {
			k = r.trunk(c, i)
		}
	}
	if k == 0 {
		k = c.nationalPhone(i)
	}
	if k == 0 {
		k = r.spoken(c, i)
	}
	if k > 0 {
		r.addPhone(c, i, k)
	}
	return k
}

// addPhone records groups i to i+k-1, with an opening parenthesis in front and
// an extension behind.
func (r *scan) addPhone(c *chain, i, k int) {
	start, end := c.g[i].start, c.g[i+k-1].end
	if at(c.text, start-1) == '(' && parenCloses(c.text, start) {
		start--
	}
	if at(c.text, start-1) == '+' {
		start--
		if at(c.text, start-1) == '(' && parenCloses(c.text, start) {
			start--
		}
	}
	r.add(start, extension(c.text, end), EntityPhone)
}

// parenCloses tells whether a parenthesis closes within the next few bytes,
// as around an area code.
func parenCloses(text []byte, i int) bool {
	for j := i; j < len(text) && j < i+7; j++ {
		if text[j] == ')' {
			return true
		}
	}
	return false
}

// freeBefore tells whether a number stands by itself: behind white space or
// punctuation that sets it off.
func freeBefore(text []byte, i int) bool {
	switch c := at(text, i-1); c {
	case '(':
		return freeBefore(text, i-1)
	case ':', ',', ';', '"', '\'', '>', '=', '|', '`', 0:
		return true
	default:
		return c <= ' ' || c >= 0x80 || escapeBefore(text, i) > 0
	}
}

// endsPhone is ends, with an extension allowed behind.
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
	for k := 0; k < 2 && (at(text, i) == '.' || at(text, i) == ' ' || at(text, i) == ':'); k++ {
		i++
	}
	digits := i
	for i < len(text) && i-digits < 7 && isDigit(text[i]) {
		i++
	}
	if i == digits || isWord(at(text, i)) {
		return end
	}
	return i
}
