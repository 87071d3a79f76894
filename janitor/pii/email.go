// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"unicode"
	"unicode/utf8"
)

// EntityEmail labels e-mail addresses.
const EntityEmail Entity = "EMAIL"

var email = builtin{
	name:   "email",
	entity: EntityEmail,
	rank:   -1,
	doc:    "E-mail addresses, international ones and %40 included; the top-level domain must exist (RFC 5322, RFC 6531, IANA root zone). git@host:path and user@host without a domain are not taken.",
	match: []string{
		"write to «o'brien@example.org». Thanks",
		"email=«bob%40example.com»&x=1",
		"«jörg@müller.de» und «用户@例子.公司»",
	},
	noMatch: []string{
		"git@github.com:org/repo.git",
		"@dataclass and lodash@4.17.21",
		"user@host x@y.notatld",
	},
}

// Limits of RFC 5321, 4.5.3.1.
const (
	maxLocalPart = 64
	maxDomain    = 255
	maxLabel     = 63
)

// mail looks at an "@" (or "%40") at text[i:after] and records the address
// around it, or the password of a URL's user information.
func (r *scan) mail(i, after int) {
	if c := byteAt(r.text, after); !isAlnum(c) && c < 0x80 && c != '[' {
		return // no host
	}
	if after == i+1 && r.userinfo(i, after) {
		return
	}
	if !r.finds(&email) {
		return
	}
	end := domainEnd(r.text, after)
	r.work += max(end-after, 8)
	if end == 0 {
		return
	}
	if byteAt(r.text, i-1) == '\\' {
		i-- // as in Markdown
	}
	start := localStart(r.text, i)
	r.work += i - start
	if byteAt(r.text, start-1) == '\\' {
		if n := escapeAt(r.text, start); start+n < i {
			start += n
		}
	}
	if start == i || scpLike(r.text, start, i, end) {
		return
	}
	r.add(start, end, EntityEmail)
}

// localStart returns the start of the local part before text[i], i when there
// is none. Characters that RFC 5322 allows but that are mostly punctuation in
// running text ("=", "/", quotes) end it; others count only between letters.
func localStart(text []byte, i int) int {
	if byteAt(text, i-1) == '"' {
		return quotedLocal(text, i)
	}
	start := i
	for start > 0 && i-start <= maxLocalPart {
		c := text[start-1]
		switch {
		case isAlnum(c), c == '_', c == '-', c == '+':
		case c == '.':
			if start == i || text[start] == '.' {
				return trimLocal(text, start, i)
			}
		case c >= 0x80:
			n := letterBefore(text, start)
			if n == 0 || start < i && text[start] < 0x80 && spaceless(text[start-n:start]) {
				return trimLocal(text, start, i)
			}
			start -= n - 1
		case percentEscape(text, start-1):
			return trimLocal(text, min(start+2, i), i)
		case innerAtext(c):
			if start == i || !isAlnum(text[start]) || start < 2 || !isAlnum(text[start-2]) {
				return trimLocal(text, start, i)
			}
		default:
			return trimLocal(text, start, i)
		}
		start--
	}
	if i-start > maxLocalPart {
		return i
	}
	return trimLocal(text, start, i)
}

// innerAtext reports whether c belongs to a local part only between letters or
// digits, as in O'Brien or a|b.
func innerAtext(c byte) bool {
	switch c {
	case '!', '#', '$', '%', '&', '\'', '*', '^', '|', '~':
		return true
	}
	return false
}

// percentEscape reports whether text[i] begins "%20" or the like.
func percentEscape(text []byte, i int) bool {
	return text[i] == '%' && isHex(byteAt(text, i+1)) && isHex(byteAt(text, i+2))
}

// trimLocal drops punctuation from the start of a local part, and all of one
// that ends in a dot.
func trimLocal(text []byte, start, i int) int {
	if i > 0 && i > start && text[i-1] == '.' {
		return i
	}
	for start < i && (text[start] == '.' || text[start] == '-') {
		start++
	}
	return start
}

// quotedLocal returns the opening quote of a quoted local part that ends at
// text[i-1], i when there is none. RFC 5322 allows more than it takes: program
// text such as `name + "@example.com"`.
func quotedLocal(text []byte, i int) int {
	letters, space := false, false
	for j := i - 2; j >= 0 && i-j <= maxLocalPart; j-- {
		switch c := text[j]; {
		case c == '"' && byteAt(text, j-1) != '\\':
			if !letters || isAlnum(byteAt(text, j-1)) {
				return i
			}
			return j
		case c < ' ', c == '+' && space, c == '(', c == ')', c == ',', c == '=':
			return i
		case c == ' ':
			space = true
		case isAlnum(c), c >= 0x80:
			letters = true
		}
	}
	return i
}

// letterBefore returns the size of the letter, mark or digit rune that ends
// at text[end], 0 when the rune there is something else.
func letterBefore(text []byte, end int) int {
	c, n := utf8.DecodeLastRune(text[:end])
	if c == utf8.RuneError || !unicode.In(c, unicode.Nd, unicode.L, unicode.M) {
		return 0
	}
	return n
}

// spaceless reports whether the rune is of a script without spaces between
// words. There, a change to ASCII letters is the edge of a word.
func spaceless(b []byte) bool {
	c, _ := utf8.DecodeRune(b)
	return c >= 0xe00 && unicode.In(c, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar)
}

// domainEnd returns the end of the domain name that begins at text[start], zero
// when there is none: labels of letters, digits and hyphens, the last a known
// top-level domain. Of "example.com.Nice" it takes "example.com".
func domainEnd(text []byte, start int) int {
	end, label, labels := 0, start, 0
	i := start
	for i < len(text) && i-start <= maxDomain {
		c := text[i]
		if c == '-' || isAlnum(c) {
			i++
			continue
		}
		n := 0
		if c >= utf8.RuneSelf && !(end > 0 && i == label) {
			n = letterAt(text, i)
		}
		if n > 0 {
			if labels > 0 && scriptChanges(text, label, i) && knownTLD(text[label:i]) {
				return i
			}
			i += n
			continue
		}
		if !validLabel(text[label:i]) {
			break
		}
		labels++
		if labels > 1 && knownTLD(text[label:i]) {
			end = i
		}
		if c != '.' {
			return end
		}
		i++
		label = i
	}
	if i == len(text) && validLabel(text[label:]) && labels > 0 && knownTLD(text[label:]) {
		end = i
	}
	return end
}

// scriptChanges reports whether a label of ASCII letters ends at text[i] and
// text without spaces follows.
func scriptChanges(text []byte, label, i int) bool {
	return i > label && text[i-1] < 0x80 && spaceless(text[i:])
}

// validLabel applies the length and the hyphen rule of RFC 1035, 2.3.1.
func validLabel(label []byte) bool {
	n := len(label)
	return n > 0 && n <= maxLabel && label[0] != '-' && label[n-1] != '-'
}

// letterAt returns the size of the letter, mark or digit rune at text[i], or 0.
func letterAt(text []byte, i int) int {
	c, n := utf8.DecodeRune(text[i:])
	if c == utf8.RuneError || !unicode.In(c, unicode.Nd, unicode.L, unicode.M) {
		return 0
	}
	return n
}

// scpLike reports whether an address is git@host:path, a place: the user is
// that of a version control service, or a path follows the colon.
func scpLike(text []byte, start, i, end int) bool {
	if byteAt(text, end) != ':' {
		return false
	}
	next := byteAt(text, end+1)
	if next == '/' || next == '~' {
		return true
	}
	if !isAlnum(next) && next != '.' {
		return false
	}
	switch string(text[start:i]) {
	case "git", "hg", "svn", "gitolite", "gitea", "gogs", "aur", "org":
		return true
	}
	return false
}
