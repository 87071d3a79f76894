// SPDX-License-Identifier: Apache-2.0

package pii

import "bytes"

// Bounds of an assignment.
const (
	maxName    = 48  // of the name, from its end
	maxValue   = 512 // of the value
	maxPadding = 32  // white space between name, operator and value
)

// nameKind is what a name says of its value.
type nameKind uint8

const (
	nameOther    nameKind = iota
	namePassword          // chosen by people: short, of words
	nameSecret            // made by machines: long and random
	nameHeader            // Authorization: a scheme, then a credential
)

// assignment looks at the ':' or '=' at text[i] as the operator between a name
// and a value.
func (r *scan) assignment(i int) {
	text := r.text
	if prev := at(text, i-1); prev == ':' || prev == '=' {
		return // the rest of an operator
	}
	kind := nameBefore(text, i)
	if kind == nameOther {
		r.userOption(i)
		return
	}
	start, end, quoted := r.valueAfter(i)
	if end-start < 4 || end-start > maxValue && kind != nameHeader {
		return
	}
	if kind == nameHeader {
		if start = schemeAfter(text, start, end); start == 0 {
			return
		}
		if !quoted {
			end = r.unquotedEnd(start)
		}
		kind = nameSecret
		if !quoted && (text[i] == '=' || at(text, end) == '(') {
			return // program text
		}
		if end-start >= 12 && !template(text[start:end]) && credential(text[start:end]) {
			r.add(start, end, EntitySecret)
		}
		return
	}
	tight := start == i+1
	if r.secretValue(kind, start, end, quoted, tight) {
		r.add(start, end, EntitySecret)
	}
}

// element looks at "</" at text[i] as the end of an XML element whose name
// speaks of a secret, and at what stands before it.
func (r *scan) element(i int) {
	text := r.text
	end := i + 2
	for end < len(text) && end-i < maxName && (isWord(text[end]) || text[end] == '-' || text[end] == '.') {
		end++
	}
	kind := kindOf(text[i+2 : end])
	if at(text, end) != '>' || kind != namePassword && kind != nameSecret {
		return
	}
	start := i
	for start > 0 && i-start < maxValue && text[start-1] != '>' && text[start-1] != '<' {
		start--
	}
	if at(text, start-1) != '>' {
		return
	}
	stop := i
	for start < stop && text[start] <= ' ' {
		start++
	}
	for start < stop && text[stop-1] <= ' ' {
		stop--
	}
	if stop-start >= 4 && r.secretValue(kind, start, stop, true, true) {
		r.add(start, stop, EntitySecret)
	}
}

// userOption takes the password of curl's "-u name:password".
func (r *scan) userOption(i int) {
	text := r.text
	if next := at(text, i+1); next <= ' ' || next == '"' || next == '/' || isDigit(next) && isDigit(at(text, i-1)) {
		return
	}
	j := i
	for j > 0 && i-j < maxName && (isWord(text[j-1]) || text[j-1] == '-' || text[j-1] == '.' || text[j-1] == '@') {
		j--
	}
	if j == i || j < 3 {
		return
	}
	if text[j-1] == '"' || text[j-1] == '\'' {
		j--
	}
	if at(text, j-1) != ' ' {
		return
	}
	flag := text[max(0, j-7) : j-1]
	n := len(flag)
	short := n >= 3 && string(flag[n-3:]) == " -u"
	if !short && !(n >= 6 && string(flag[n-6:]) == "--user") {
		return
	}
	end := r.unquotedEnd(i + 1)
	if value := text[i+1 : end]; len(value) >= 6 && !template(value) && credential(value) {
		r.add(i+1, end, EntitySecret)
	}
}

// nameBefore judges the name in front of the operator at text[i].
func nameBefore(text []byte, i int) nameKind {
	end := i
	for end > 0 && i-end < maxPadding {
		switch text[end-1] {
		case ' ', '\t', '"', '\'', '`', ']', '\\', '.', '+', '!':
			end--
			continue
		}
		break
	}
	if end == 0 {
		return nameOther
	}
	switch text[end-1] | 0x20 { // the last letters of what kindOf knows
	case 'd', 't', 'n', 'y', 'e', 's', 'w', 'h', 'l':
	default:
		return nameOther
	}
	start := end
	for start > 0 && end-start < maxName {
		c := text[start-1]
		if !isWord(c) && c != '-' && c != '.' {
			break
		}
		start--
	}
	return kindOf(text[start:end])
}

// valueAfter returns the value behind the operator at text[i] and whether it
// stands in quotes.
func (r *scan) valueAfter(i int) (start, end int, quoted bool) {
	text := r.text
	start = i
	for start < len(text) && start-i < 4 && (text[start] == ':' || text[start] == '=' || text[start] == '>') {
		start++
	}
	pad := start
	for start < len(text) && start-pad < maxPadding && (text[start] == ' ' || text[start] == '\t') {
		start++
	}
	if at(text, start) == '\\' && (at(text, start+1) == '"' || at(text, start+1) == '\'') {
		start++
	}
	switch quote := at(text, start); quote {
	case '"', '\'', '`':
		start++
		end = start
		for end < len(text) && end-start <= maxValue && text[end] != quote && text[end] >= ' ' {
			end++
		}
		if at(text, end) != quote {
			return 0, 0, false
		}
		if text[end-1] == '\\' {
			end--
		}
		return start, end, true
	}
	return start, r.unquotedEnd(start), false
}

// unquotedEnd returns where a value without quotes that begins at text[start]
// ends. The last stretch is remembered: a row of assignments without a break
// is walked once.
func (r *scan) unquotedEnd(start int) int {
	if start >= r.plainFrom && start < r.plainTo {
		return r.plainTo
	}
	end := start
	for end < len(r.text) && !endsValue(r.text[end]) {
		end++
	}
	r.plainFrom, r.plainTo = start, end
	return end
}

// endsValue are the bytes that end a value without quotes.
func endsValue(c byte) bool {
	switch c {
	case ',', ';', '"', '\'', '`', '<', '>', ')', '(', ']', '[', '}', '{', '&', '\\', '|':
		return true
	}
	return c <= ' '
}

// schemeAfter returns where the credential behind an authentication scheme
// begins, 0 when there is none (RFC 9110, 11.4).
func schemeAfter(text []byte, start, end int) int {
	i := start
	for i < len(text) && i-start < 16 && (isAlpha(text[i]) || text[i] == '-') {
		i++
	}
	if i-start < 4 || at(text, i) != ' ' {
		if end-start >= 16 {
			return start
		}
		return 0
	}
	for n := 0; n < 4 && at(text, i) == ' '; n++ {
		i++
	}
	return i
}

// secretValue judges the value text[start:end] of a name.
func (r *scan) secretValue(kind nameKind, start, end int, quoted, tight bool) bool {
	value := r.text[start:end]
	if template(value) || len(value) > maxValue || containsFold(value, "example") || placeholder(value) > 0 {
		return false
	}
	if kind == nameSecret {
		if len(value) < 16 || !random62(value) && !guid(value) && !(quoted && figures(value)) {
			return false
		}
		return quoted || at(r.text, end) != '(' && (tight || digitRuns(value) >= 2)
	}
	if len(value) < 6 || len(value) > 128 || !chosen(value) {
		return false
	}
	if quoted {
		return true
	}
	// Without quotes it may be an expression: only what stands as in a
	// configuration file is taken, and only a word that is no name.
	next := at(r.text, end)
	return digitRuns(value) > 0 && (tight || next == '\n' || next == '\r' || next == 0) && next != '(' && next != '[' && !identifier(value, tight)
}

// chosen judges a password of a person: letters with digits or signs; not a
// word, a path, a format or a sentence.
func chosen(v []byte) bool {
	var letter, digit, sign, lowerThenUpper bool
	for i, c := range v {
		switch {
		case isAlpha(c):
			letter = true
			lowerThenUpper = lowerThenUpper || i > 0 && isUpper(c) && isLower(v[i-1])
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

// figures tells values of digits alone, which some services give out.
func figures(v []byte) bool {
	for _, c := range v {
		if !isDigit(c) {
			return false
		}
	}
	return !sameDigits(v)
}

// guid tells 8-4-4-4-12 hexadecimal digits, which are keys of many services.
func guid(v []byte) bool {
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

// identifier tells names of program text: words joined by underscores and
// dots, with digits only at the end of one. Where no space stands around the
// operator, as in a file of settings, eight characters with digits at the end
// are a password.
func identifier(v []byte, tight bool) bool {
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

// credential judges what follows a scheme: mixed enough not to be a word.
func credential(v []byte) bool {
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

// random62 judges a value made by a machine: no spaces, letters and digits
// mixed throughout rather than words with a number behind.
func random62(v []byte) bool {
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

// containsFold tells whether an ASCII lower-case word occurs in b.
func containsFold(b []byte, word string) bool {
	for i := 0; i+len(word) <= len(b); i++ {
		if lower(b[i]) == word[0] && equalFold(b[i:i+len(word)], word) {
			return true
		}
	}
	return false
}
