// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"bytes"
	"encoding/base64"
)

// isTemplate tells values that stand for a secret and are none: variables,
// format verbs, masks and placeholders.
func isTemplate(value []byte) bool {
	switch value[0] {
	case '<', '{', '[', '%':
		return true
	case '$': // a variable, not a password that begins so
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

// likelySecret reports whether a value could be what its name says. It is the quick
// part: most values are not. Quoted tells that the value stands in quotes,
// touchesText that no space stands around the operator; next is the byte behind the
// value.
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

// looksGenerated tells keys and tokens: random characters, a GUID, or in quotes
// digits alone.
func looksGenerated(v []byte, quoted bool) bool {
	return len(v) >= 16 && (looksRandom(v) || isGUID(v) || quoted && allDigits(v))
}

// looksLikeSetting tells a password without quotes as in a file of settings from an
// expression of a program: it ends its line or has no space in front, holds a
// digit, and is no name.
func looksLikeSetting(v []byte, tight bool, next byte) bool {
	ends := next == '\n' || next == '\r' || next == '\\' || next == 0
	if digitRuns(v) == 0 || !tight && !ends || next == '(' || next == '[' {
		return false
	}
	return !isIdentifier(v, tight) || tight && (ends || next == ' ') && changes(v) >= 3
}

// dottedNames tells names joined by dots, each with one number at most, such as
// ed25519.Ed25519PrivateKey.
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

// isBasicAuth tells a user and a password in base64 (RFC 7617): printable ASCII with a
// colon in it.
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

// mixedWithSign tells a password of a person that no expression looks like: capitals,
// small letters and digits with a sign between.
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

// likelyPassword judges a password of a person: letters with digits or signs; not a
// word, a path, a format or a sentence.
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

// allDigits tells values of digits alone, which some services give out.
func allDigits(v []byte) bool {
	for _, c := range v {
		if !isDigit(c) {
			return false
		}
	}
	return !sameDigits(v)
}

// isGUID tells 8-4-4-4-12 hexadecimal digits, which are keys of many services.
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

// digitRuns counts the stretches of digits, of which a name has one at most.
func digitRuns(v []byte) int {
	n := 0
	for i, c := range v {
		if isDigit(c) && (i == 0 || !isDigit(v[i-1])) {
			n++
		}
	}
	return n
}

// isIdentifier tells names of program text: words joined by underscores and
// dots, with digits only at the end of one. Where no space stands around the
// operator, as in a file of settings, eight characters with digits at the end
// are a password.
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

// looksLikeCredential judges what follows a scheme: mixed enough not to be a word.
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

// looksRandom judges a value made by a machine: no spaces, letters and digits
// mixed throughout rather than words with a number behind.
func looksRandom(v []byte) bool {
	var digit, letter bool
	var seen [4]uint64
	distinct := 0
	for _, c := range v {
		switch {
		case isDigit(c):
			digit = true
		case isAlpha(c):
			letter = true
		case alphabetBits[c]&(1<<abAny) == 0 && c != '!' && c != '@' && c != '#' && c != '&' && c != '^' && c != '$' && c != '(' && c != ')':
			return false
		}
		if bit := uint64(1) << (c & 63); seen[c>>6]&bit == 0 {
			seen[c>>6] |= bit
			distinct++
		}
	}
	n := changes(v)
	if !digit {
		return letter && len(v) >= 20 && distinct >= 14 && n >= len(v)/4
	}
	return letter && distinct >= 8 && n >= max(3, len(v)/9)
}

// changes counts how often the class of neighbouring letters and digits
// changes: lower case, upper case, digit. Words have few changes, a capital
// at their start not counted.
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
