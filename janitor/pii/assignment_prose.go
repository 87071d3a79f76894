// SPDX-License-Identifier: Apache-2.0

package pii

import "bytes"

// Bounds of a password in a sentence or after an option.
const (
	maxBeforeDigit = 16 // characters of the password before its first digit
	maxVerb        = 5
)

// beforePassword marks the bytes that can stand before a password, or begin
// one, when a letter or digit follows.
var beforePassword = func() (t [256]bool) {
	for _, c := range []byte(" \"'`!#$&*?@^_~-\xaf\xba\x9a") {
		t[c] = true
	}
	return t
}()

// passwordCouldBegin reports whether prosePassword is worth a call for the
// letters or digits at text[i], after one of beforePassword: after a word and a
// space, or in a word with signs. Digits must go on with something else.
func passwordCouldBegin(text []byte, i int) bool {
	switch text[i-1] {
	case ' ':
		return endsPasswordName(byteAt(text, i-2)) && letterAhead(text, i)
	case '"', '\'', '`':
		return byteAt(text, i-2) == ' ' && endsPasswordName(byteAt(text, i-3)) && letterAhead(text, i)
	case '-':
		return isAlpha(byteAt(text, i-2))
	}
	return true
}

// endsPasswordName reports whether verbs or names of passwords end with a
// letter.
func endsPasswordName(c byte) bool {
	switch c | 0x20 {
	case 's', 't', 'o', 'd', 'e', 'w':
		return true
	}
	return false
}

// endsSpacelessName reports whether one of spacelessNames ends with a byte.
func endsSpacelessName(c byte) bool { return c == 0xaf || c == 0xba || c == 0x9a }

// letterAhead reports whether a letter stands at text[p], or a letter or sign
// after the digits there.
func letterAhead(text []byte, p int) bool {
	for isDigit(byteAt(text, p)) {
		p++
	}
	switch c := byteAt(text, p); c {
	case '.', ',', ':', ';', ')', ']', '/', '%', '"', '\'':
		return false
	default:
		return c > ' ' && c < 0x80
	}
}

// prosePassword looks at the first digit of a word, at text[p], for a password
// that no operator assigns: "my password is hunter2", "--password k3Y!abc",
// "login bob password k3Yabc". A password without a digit looks like any word.
func (r *scan) prosePassword(p int) {
	text := r.text
	start := passwordStart(text, p)
	if start < 0 {
		return
	}
	i := start // the end of the text before the password
	stop := byteAt(text, i-1)
	if isQuote(stop) {
		i--
	} else {
		stop = 0
	}
	verb := spacelessNameBefore(text[:i])
	if !verb {
		if byteAt(text, i-1) != ' ' {
			return
		}
		var named bool
		if named, verb = passwordNamed(text, i-1); !named {
			return
		}
	}
	end := r.passwordEnd(start, stop)
	r.work += end - start
	if next := byteAt(text, end); next == '(' || next == '[' || next == '{' {
		return // program text
	}
	if isProsePassword(text[start:end], verb) {
		r.add(start, end, EntitySecret)
	}
}

// inPassword marks the bytes of a password: printable ASCII without quotes.
var inPassword = func() (t [256]bool) {
	for c := byte('!'); c < 0x80; c++ {
		t[c] = !isQuote(c)
	}
	return t
}()

// passwordStart returns the start of the word around the digit at text[p], -1
// when it has an earlier digit or is too long.
func passwordStart(text []byte, p int) int {
	start := p
	for start > 0 && inPassword[text[start-1]] {
		if start--; p-start > maxBeforeDigit || isDigit(text[start]) {
			return -1
		}
	}
	return start
}

// isProsePassword reports whether a value could be a password; verb means that
// a verb stands before it.
func isProsePassword(v []byte, verb bool) bool {
	return len(v) >= 6 && len(v) <= maxPassword && v[0] != '-' && v[0] != '*' &&
		likelyPassword(v) && !isTemplate(v) && !containsFold(v, "example") && !wordWithDigits(v, verb)
}

func isQuote(c byte) bool { return c == '"' || c == '\'' || c == '`' }

// passwordNamed reports whether the words that end at text[:i] name a password,
// and whether a verb follows the name.
func passwordNamed(text []byte, i int) (named, verb bool) {
	if !endsPasswordName(byteAt(text, i-1)) {
		return false, false
	}
	word := wordBefore(text, i)
	if word == i {
		return false, false
	}
	if w := text[word:i]; len(w) <= maxVerb && byteAt(text, word-1) == ' ' &&
		(equalFold(w, "is") || equalFold(w, "ist") || equalFold(w, "est") || equalFold(w, "es") || equalFold(w, "was") || equalFold(w, "to")) {
		i, verb = word-1, true
		if word = wordBefore(text, i); word == i {
			return false, false
		}
	}
	name := text[word:i]
	if verb && equalFold(name, "pass") || !verb && name[0] != '-' && !equalFold(name, "password") && !equalFold(name, "passwd") && !equalFold(name, "passwort") {
		return false, false // "pass" is a verb too, and names of program text stand side by side
	}
	return kindOf(name) == namePassword, verb
}

// wordBefore returns the start of the name that ends at text[:i].
func wordBefore(text []byte, i int) int {
	start := i
	for start > 0 && i-start <= maxName && (isWord(text[start-1]) || text[start-1] == '-') {
		start--
	}
	return start
}

// spacelessNames name a password and announce its value, in languages without
// spaces.
var spacelessNames = [...]string{"密码是", "密码为", "密码：", "密碼是", "密碼為", "密碼：", "パスワードは", "パスワード："}

func spacelessNameBefore(before []byte) bool {
	if !endsSpacelessName(byteAt(before, len(before)-1)) {
		return false
	}
	for _, name := range spacelessNames {
		if bytes.HasSuffix(before, []byte(name)) {
			return true
		}
	}
	return false
}

// passwordEnd returns the end of a value that begins at text[start]: its
// closing quote, or white space, less the punctuation of the sentence.
func (r *scan) passwordEnd(start int, stop byte) int {
	text := r.text
	end := start
	for end < len(text) && end-start <= maxPassword && text[end] > ' ' && text[end] < 0x80 && (text[end] != stop || stop == 0) && !(stop == 0 && endsValue(text[end])) {
		end++
	}
	for stop == 0 && end > start && (text[end-1] == '.' || text[end-1] == '?' || text[end-1] == ':') {
		end--
	}
	return end
}

// technicalWords are words with digits that sentences about passwords hold.
var technicalWords = set("sha1 sha224 sha256 sha384 sha512 md4 md5 base32 base58 base64 utf8 utf16 rot13 aes128 aes192 aes256 " +
	"pbkdf2 argon2 argon2i argon2id bcrypt2 blake2 blake2b blake2s blake3 scrypt2 ntlmv1 ntlmv2 rfc2307 oauth1 oauth2 auth0 " +
	"ascii7 unicode6 windows10 windows11 iso27001 ripemd160 x25519 ed25519")

// wordWithDigits reports whether v is a word rather than a password: parts that
// are letters, digits, or a name with a number at its end. After a verb, one
// such part alone is a password unless it is a technical word.
func wordWithDigits(v []byte, verb bool) bool {
	parts := 0
	for i := 0; i < len(v); parts++ {
		n := plainPart(v[i:])
		if n < 0 {
			return false
		}
		if i += n; i == len(v) {
			break
		}
		switch v[i] {
		case '-', '_', '.', '\'':
			i++
		default:
			return false // no word has this sign
		}
	}
	return parts > 0 || !verb || !isAlpha(v[0]) || isTechnicalWord(v)
}

// plainPart returns the length of the letters, digits and small letters that v
// begins with, as in 12th, 90days and step2; -1 when letters and digits are
// mixed in another way.
func plainPart(v []byte) int {
	letters := 0
	for letters < len(v) && isAlpha(v[letters]) {
		letters++
	}
	i := letters
	for i < len(v) && isDigit(v[i]) {
		i++
	}
	if i < len(v) && isAlpha(v[i]) && (letters > 0 || i > 3) {
		return -1
	}
	for i < len(v) && isLower(v[i]) {
		i++
	}
	if i < len(v) && isUpper(v[i]) {
		return -1
	}
	return i
}

// isTechnicalWord reports whether v is one of schemes.
func isTechnicalWord(v []byte) bool {
	var buf [maxWord]byte
	defer clear(buf[:]) // the stack keeps nothing of the value
	if len(v) > len(buf) {
		return false
	}
	for i, c := range v {
		buf[i] = lower(c)
	}
	return technicalWords[string(buf[:len(v)])]
}
