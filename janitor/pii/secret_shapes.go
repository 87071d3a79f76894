// SPDX-License-Identifier: Apache-2.0

package pii

import "bytes"

// googleClientDomain ends the names of OAuth clients. They are not secret
// alone, but stand beside a secret and name the account.
const googleClientDomain = ".apps.googleusercontent.com"

// minShapeWord is the length of the shortest word of letters and digits that a
// shape begins with, except those of a chat bot: that of maxMindKey.
const minShapeWord = 6

// shapeAt returns the end of a secret at text[p] that has a shape of its own
// instead of a prefix, or p. A word boundary stands before text[p].
func (r *scan) shapeAt(p int) int {
	switch r.text[p] {
	case 'M', 'N', 'O':
		if end := r.discordBot(p); end > p {
			return end
		}
	case 'A':
		if end := r.telegramBot(p); end > p {
			return end
		}
	}
	word := r.runEnd(abAlnum, p)
	if word-p < minShapeWord {
		return p
	}
	if w := r.text[p:word]; azurePlatformKey(w) || newRelicInsertKey(w) {
		return word
	}
	switch byteAt(r.text, word) {
	case '.':
		return r.atlasToken(p, word)
	case '|':
		return r.facebookApp(p, word)
	case '_':
		return r.maxMindKey(p, word)
	case '-':
		if word-p == 32 {
			return r.mailchimpKey(p, word)
		}
		return r.googleClient(p, word)
	}
	return p
}

// azurePlatformKey reports whether a word holds the platform's signature.
func azurePlatformKey(word []byte) bool { return len(word) == 84 && string(word[52:56]) == "JQQJ" }

// newRelicInsertKey reports whether a word is a key for sending data.
func newRelicInsertKey(word []byte) bool { return len(word) == 40 && string(word[36:]) == "NRAL" }

// atlasToken takes a token of Terraform or Vagrant cloud: 14 characters,
// ".atlasv1." and the rest.
func (r *scan) atlasToken(p, word int) int {
	if word-p != 14 || !bytes.HasPrefix(r.text[word:], []byte(".atlasv1.")) {
		return p
	}
	if end := r.runEnd(abURLDot, p); end-word >= 60 && end-word <= 90 {
		return end
	}
	return p
}

// facebookApp takes an application's number, "|" and 27 characters.
func (r *scan) facebookApp(p, word int) int {
	if n := word - p; n < 13 || n > 16 || r.runEnd(abDigit, p) != word {
		return p
	}
	if end := r.runEnd(abURL, word+1); end-word == 28 {
		return end
	}
	return p
}

// maxMindKey takes 40 characters with an underscore after the sixth and "_mmk"
// at the end.
func (r *scan) maxMindKey(p, word int) int {
	if word-p == 6 && r.runEnd(abURL, p)-p == 40 && string(r.text[p+36:p+40]) == "_mmk" {
		return p + 40
	}
	return p
}

// mailchimpKey takes 32 hexadecimal digits and "-us" with a number.
func (r *scan) mailchimpKey(p, word int) int {
	if byteAt(r.text, word+1) != 'u' || byteAt(r.text, word+2) != 's' || !isDigit(byteAt(r.text, word+3)) {
		return p
	}
	if end := r.runEnd(abAlnum, word+1); end-word <= 5 && r.runEnd(abHex, p) >= word {
		return end
	}
	return p
}

// googleClient takes the name of an OAuth client: a number, "-", 32 characters
// and the domain.
func (r *scan) googleClient(p, word int) int {
	if n := word - p; n < 10 || n > 14 || r.runEnd(abDigit, p) != word {
		return p
	}
	if end := r.runEnd(abAlnum, word+1); end-word == 33 && bytes.HasPrefix(r.text[end:], []byte(googleClientDomain)) {
		return end + len(googleClientDomain)
	}
	return p
}

// discordBot takes a bot token: a user id in base64, a time and a signature,
// joined by dots.
func (r *scan) discordBot(p int) int {
	id := r.runEnd(abURL, p)
	if id-p < 23 || id-p > 28 || byteAt(r.text, id) != '.' {
		return p
	}
	stamp := r.runEnd(abURL, id+1)
	if stamp-id != 7 || byteAt(r.text, stamp) != '.' {
		return p
	}
	end := r.runEnd(abURL, stamp+1)
	if n := end - stamp - 1; n < 27 || n > 38 {
		return p
	}
	return end
}

// telegramBot takes the part after the colon of a bot token, "AA" and more,
// when the bot's number stands before it. The caller records the number as
// well, from telegramNumber.
func (r *scan) telegramBot(p int) int {
	if r.telegramNumber(p) == p {
		return p
	}
	end := r.runEnd(abURL, p)
	if n := end - p; n < 34 || n > 36 {
		return p
	}
	return end
}

// telegramNumber returns the start of the number of five to sixteen digits
// before ":" before text[p], p when there is none.
func (r *scan) telegramNumber(p int) int {
	if byteAt(r.text, p-1) != ':' {
		return p
	}
	i := p - 1
	for i > 0 && p-i <= 17 && isDigit(r.text[i-1]) {
		i--
	}
	if n := p - 1 - i; n < 5 || n > 16 || isAlpha(byteAt(r.text, i-1)) && byteAt(r.text, i-1)|0x20 != 't' {
		return p
	}
	return i
}

// azureSecret takes an Entra ID client secret around "Q~" at text[q:]: three
// characters and a digit before, 31 to 34 characters after.
func (r *scan) azureSecret(q int) {
	start := q - 4
	if start < 0 || !isDigit(r.text[q-1]) {
		return
	}
	end := q + 2
	for end < len(r.text) && end-q <= 40 && (alphabetBits[r.text[end]]&(1<<abURLDot) != 0 || r.text[end] == '~') {
		end++
	}
	for end > q+2 && r.text[end-1] == '.' { // of the sentence
		end--
	}
	if n := end - q - 2; n < 31 || n > 34 {
		return
	}
	r.add(start, end, EntitySecret)
}
