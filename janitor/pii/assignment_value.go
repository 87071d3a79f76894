// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"bytes"
	"encoding/base64"
	"math/bits"
)

// isTemplate reports whether a value stands for a secret without being one: a
// variable, format verb, mask or placeholder.
func isTemplate(value []byte) bool {
	switch value[0] {
	case '<', '{', '[', '%':
		return true
	case '$': // a variable, and not a password that begins with $
		name := 1
		for name < len(value) && isWord(value[name]) {
			name++
		}
		if name == len(value) || name == 1 || value[name] == '.' || value[name] == '(' {
			return true
		}
	}
	if len(value) > 4 && equalFold(value[:4], "your") {
		return true
	}
	same := true
	for k, c := range value {
		if c != value[0] {
			same = false
		}
		if (c == '{' || c == '(') && k > 0 && value[k-1] == '$' {
			return true
		}
	}
	return same && (len(value) > 2 || !isAlnum(value[0]))
}

// likelySecret reports whether a value could be the secret that its name
// announces. It is the quick test: it refuses most values. Quoted means that
// the value stands in quotes, tight that no space stands around the operator;
// next is the byte after the value.
func likelySecret(kind nameKind, head []byte, quoted, tight bool, next byte) bool {
	switch {
	case kind == nameBasic:
		return quoted && isBasicAuth(head)
	case kind == nameSignature:
		return tight && len(head) >= 40 && looksRandom(head)
	case kind == nameSecret, len(head) > maxPassword:
		return looksGenerated(head, quoted) && (quoted || next != '(' && (tight || digitRuns(head) >= 2 && !dottedNames(head)))
	case len(head) < 6 || !likelyPassword(head):
		return false
	}
	return quoted || (next == ' ' || next == ',') && mixedWithSign(head) || looksLikeSetting(head, tight, next)
}

// looksGenerated reports whether v is a key or token: random characters, a
// GUID, or in quotes digits alone.
func looksGenerated(v []byte, quoted bool) bool {
	return len(v) >= 16 && (looksRandom(v) || isGUID(v) || quoted && allDigits(v))
}

// looksLikeSetting reports whether v, without quotes, is a password in a
// settings file rather than an expression of a program: it ends its line or
// follows the operator directly, holds a digit, and is no identifier.
func looksLikeSetting(v []byte, tight bool, next byte) bool {
	ends := next == '\n' || next == '\r' || next == '\\' || next == 0
	if digitRuns(v) == 0 || !tight && !ends || next == '(' || next == '[' {
		return false
	}
	return !isIdentifier(v, tight) || tight && (ends || next == ' ') && changes(v) >= 3
}

// dottedNames reports whether v is names joined by dots, each with at most one
// number: ed25519.Ed25519PrivateKey.
func dottedNames(v []byte) bool {
	parts := 0
	for from := 0; from <= len(v); parts++ {
		n := bytes.IndexByte(v[from:], '.')
		if n < 0 {
			n = len(v) - from
		}
		if part := v[from : from+n]; n == 0 || digitRuns(part) > 1 || isDigit(part[0]) {
			return false
		}
		from += n + 1
	}
	return parts > 1
}

// isBasicAuth reports whether v is a user and a password in base64 (RFC 7617):
// printable ASCII with a colon inside.
func isBasicAuth(v []byte) bool {
	var buf [maxPassword]byte
	defer clear(buf[:]) // the stack keeps nothing of the value
	if len(v) < 12 || len(v) > maxPassword {
		return false
	}
	n, err := base64.StdEncoding.Decode(buf[:], v)
	if err != nil {
		return false
	}
	for _, c := range buf[:n] {
		if c < ' ' || c > '~' {
			return false
		}
	}
	colon := bytes.IndexByte(buf[:n], ':')
	return colon > 0 && colon < n-1
}

// mixedWithSign reports whether v is a password that no expression looks like:
// capitals, small letters, digits, and a sign after the first character.
func mixedWithSign(v []byte) bool {
	var digit, up, low, sign bool
	for i, c := range v {
		switch {
		case isDigit(c):
			digit = true
		case isUpper(c):
			up = true
		case isLower(c):
			low = true
		case c == '!', c == '@', c == '#', c == '$', c == '^', c == '*', c == '?', c == '~', c == '%':
			sign = sign || i > 0
		default:
			return false
		}
	}
	return digit && up && low && sign
}

// likelyPassword reports whether a person could have chosen v: letters with
// digits or signs, and no word, path, format or sentence.
func likelyPassword(v []byte) bool {
	var letter, digit, sign bool
	for i, c := range v {
		switch {
		case isAlpha(c):
			letter = true
		case isDigit(c):
			digit = true
		case c == ' ', c == '{', c == '}', c == '<', c == '>', c == '(', c == ')', c == '\\', c == ';':
			return false
		case c == '/', c == ':':
			return false // paths and addresses
		case c == '$', c == '!', c == '@', c == '#', c == '^', c == '&', c == '*', c == '+', c == '?', c == '~':
			sign = sign || i > 0 && i < len(v)-1
		}
	}
	return letter && (digit || sign) || digit && sign
}

// allDigits reports whether v is digits alone, as some services issue, and not
// one digit repeated.
func allDigits(v []byte) bool {
	for _, c := range v {
		if !isDigit(c) {
			return false
		}
	}
	return !sameDigits(v)
}

// isGUID reports whether v is hexadecimal digits in the form 8-4-4-4-12, the
// keys of many services.
func isGUID(v []byte) bool {
	if len(v) != 36 {
		return false
	}
	for i, c := range v {
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (c == '-') || !dash && !isHex(c) {
			return false
		}
	}
	return true
}

// digitRuns counts the stretches of digits. A name has at most one.
func digitRuns(v []byte) int {
	n := 0
	for i, c := range v {
		if isDigit(c) && (i == 0 || !isDigit(v[i-1])) {
			n++
		}
	}
	return n
}

// isIdentifier reports whether v is a name in program text: words joined by
// underscores and dots, each with digits only at its end. Without spaces around
// the operator, as in a settings file, eight characters that end in a digit are
// a password instead.
func isIdentifier(v []byte, tight bool) bool {
	if !isAlpha(v[0]) && v[0] != '_' {
		return false
	}
	dot, seen := false, false
	for i, c := range v {
		switch {
		case c == '.', c == '_', c == '-':
			dot, seen = dot || c == '.', false
		case isDigit(c):
			seen = true
		case isAlpha(c):
			if seen && i < len(v)-1 {
				return false
			}
		default:
			return false
		}
	}
	return dot || !tight || len(v) < 8 || !isDigit(v[len(v)-1])
}

// looksLikeCredential reports whether the text after an authentication scheme
// is too mixed for a word.
func looksLikeCredential(v []byte) bool {
	if placeholder(v) > 0 || containsFold(v, "example") || bytes.Contains(v, []byte("://")) {
		return false
	}
	var digit, up, low bool
	for _, c := range v {
		switch {
		case c == '<', c == '{', c == '$', c == '(', c == '%':
			return false
		case isDigit(c):
			digit = true
		case isUpper(c):
			up = true
		case isLower(c):
			low = true
		}
	}
	return digit && (up || low) || up && low && changes(v) >= 4
}

// looksRandom reports whether v is generated: no spaces, and letters and digits
// mixed throughout rather than words with a number at the end.
func looksRandom(v []byte) bool {
	var digit, letter bool
	var seen [4]uint64
	for _, c := range v {
		switch {
		case isDigit(c):
			digit = true
		case isAlpha(c):
			letter = true
		case alphabetBits[c]&(1<<abAny) == 0 && c != '!' && c != '@' && c != '#' && c != '&' && c != '^' && c != '$' && c != '(' && c != ')':
			return false
		}
		seen[c>>6] |= 1 << (c & 63)
	}
	distinct := 0
	for _, x := range seen {
		distinct += bits.OnesCount64(x)
	}
	if !digit {
		return letter && len(v) >= 20 && distinct >= 14 && changes(v) >= len(v)/4
	}
	return letter && distinct >= 8 && changes(v) >= max(3, len(v)/9)
}

// changes counts the neighbouring letters and digits of different classes:
// lower case, upper case, digit. A word has few; a capital before a small
// letter does not count.
func changes(v []byte) int {
	n := 0
	for i := 1; i < len(v); i++ {
		a, b := class[v[i-1]]&clsAlnum, class[v[i]]&clsAlnum
		if a != 0 && b != 0 && (a^b)&(clsDigit|clsUpper|clsLower) != 0 && !(a&clsUpper != 0 && b&clsLower != 0) {
			n++
		}
	}
	return n
}

// containsFold reports whether an ASCII lower-case word occurs in b.
func containsFold(b []byte, word string) bool {
	for i := 0; i+len(word) <= len(b); i++ {
		if lower(b[i]) == word[0] && equalFold(b[i:i+len(word)], word) {
			return true
		}
	}
	return false
}
