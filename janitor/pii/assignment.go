// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"bytes"
	"unicode/utf8"
)

var assignment = builtin{
	name:   "assignment",
	entity: EntitySecret,
	rank:   -4,
	doc:    "Values assigned to names such as password, client_secret or api_key, in program text, configuration, JSON, XML and HTTP headers; name and value must both look right, so that prose, variables and placeholders are not taken. Passwords in a sentence (my password is ...) or after an option, when they hold a digit.",
	match: []string{
		"DB_PASSWORD=«s3cr3tpass»",
		`"api-key" => "«a8Fk29dKq01LzPw73bXc»"`,
		"Authorization: Bearer «mF_9.B5f-4.1JqM»",
		"<dbPassword>«s3cr3tpass»</dbPassword>",
		"my password is «hunter2»",
	},
	noMatch: []string{
		`password := os.Getenv("PW1")`,
		`public_key = "Gc3Q0RXJM2CUNbgKpUMnkPtOfOzeFzsW"`,
		"the password is sha256 hashed",
		"token: [REDACTED]",
	},
}

// Bounds of an assignment.
const (
	maxName     = 48  // bytes of the name, from its end
	maxHead     = 512 // bytes of the value that are judged; all of it is taken
	maxPassword = 128 // bytes of a password that a person chose; longer ones are generated
	maxPadding  = 32  // white space between name, operator and value

	// maxNested bounds how many assignments within one stretch without a break are
	// judged. Each value reaches to the end of the stretch, so judging more would
	// take quadratic time. Ordinary text has no such stretch; of one longer than
	// nestedMuch, all is taken.
	maxNested  = 3
	nestedMuch = 48
)

// value is the right-hand side of an assignment.
type value struct {
	start, end int
	quoted     bool
	stop       byte // the quote that ends it, 0 when there is none
	cut        bool // goes on after the window, see fold.go
}

// assignment looks at the ':' or '=' at text[i] as the operator between a name
// and a value.
func (r *scan) assignment(i int) {
	if i < r.taken {
		return // within a value that is taken already
	}
	text := r.text
	if prev := byteAt(text, i-1); prev == ':' || prev == '=' {
		return // the rest of an operator
	}
	kind := nameBefore(text, i)
	r.work += maxName / 2
	if kind == nameOther {
		r.userOption(i)
		return
	}
	v := r.valueAfter(i)
	if v.end-v.start < 4 {
		return
	}
	tight := v.start == i+1
	if kind == nameHeader {
		if v.start = schemeAfter(text, v.start, v.end); v.start == 0 {
			return
		}
		if !v.quoted {
			v.end = r.unquotedEnd(v.start)
			v.cut = r.goesOn(v.end)
		}
	}
	var ok bool
	if !v.quoted && r.nested >= maxNested && v.end-v.start >= nestedMuch {
		ok = true
	} else if kind == nameHeader {
		ok = r.headerValue(v, text[i])
	} else {
		ok = r.secretValue(kind, v, tight)
	}
	switch {
	case ok:
		r.take(max(0, i-maxName), v)
	case !v.quoted:
		r.nested++
	}
}

// take records a value as a secret, to its end even when that lies after the
// window. Its name begins at text[name] at the earliest.
func (r *scan) take(name int, v value) {
	if !r.foldedIn(name, v.end) {
		return // the first pass has seen all of it
	}
	r.out = append(r.out, Span{v.start, v.end, EntitySecret})
	if !v.quoted {
		r.taken = v.end
	}
	if v.cut {
		end := valueEnd(r.outer, r.beyond, v.stop)
		r.reach = max(r.reach, end)
		r.work += end - r.beyond
	}
}

// headerValue judges the credential after the name of a header.
func (r *scan) headerValue(v value, operator byte) bool {
	var buf [maxHead]byte
	defer clear(buf[:]) // the stack keeps nothing of the value
	head, next := r.valueHead(v, &buf)
	r.work += 2 * len(head)
	if !v.quoted && (operator == '=' || next == '(') {
		return false // program text
	}
	return len(head) >= 12 && !isTemplate(head) && looksLikeCredential(head)
}

// valueHead returns the beginning of a value as it reads: folded where it is not
// ASCII, and taken from after the window where the value is cut. The second
// result is the byte that follows the value, 0 when it is not known.
func (r *scan) valueHead(v value, buf *[maxHead]byte) (head []byte, next byte) {
	if v.cut && v.start < len(r.text) {
		n := foldHead(buf[:], r.outer[r.win.base+int(r.win.from[v.start]):])
		for k, c := range buf[:n] {
			if v.ends(c) {
				return buf[:k], c
			}
		}
		return buf[:n], 0
	}
	head, next = r.text[v.start:v.end], byteAt(r.text, v.end)
	if len(head) > maxHead {
		head = head[:maxHead]
	}
	for _, c := range head {
		if c >= utf8.RuneSelf {
			return buf[:foldHead(buf[:], r.text[v.start:v.end])], next
		}
	}
	return head, next
}

// ends reports whether c ends the value.
func (v value) ends(c byte) bool {
	if v.quoted {
		return c == v.stop || c < ' '
	}
	return endsValue(c)
}

// element looks at "</" at text[i] as the end of an XML element with the name
// of a secret, and at the element's text.
func (r *scan) element(i int) {
	text := r.text
	end := i + 2
	for end < len(text) && end-i < maxName && (isWord(text[end]) || text[end] == '-' || text[end] == '.') {
		end++
	}
	kind := kindOf(text[i+2 : end])
	if byteAt(text, end) != '>' || kind != namePassword && kind != nameSecret {
		return
	}
	start := i // the walk back stops at the element before, so no byte is walked twice
	for start > 0 && text[start-1] != '>' && text[start-1] != '<' {
		start--
	}
	r.work += i - start
	if byteAt(text, start-1) != '>' {
		return
	}
	stop := i
	for start < stop && text[start] <= ' ' {
		start++
	}
	for start < stop && text[stop-1] <= ' ' {
		stop--
	}
	if v := (value{start: start, end: stop, quoted: true}); stop-start >= 4 && r.secretValue(kind, v, true) {
		r.take(start, v)
	}
}

// userOption takes the password of curl's "-u name:password".
func (r *scan) userOption(i int) {
	text := r.text
	if next := byteAt(text, i+1); next <= ' ' || next == '"' || next == '/' || isDigit(next) && isDigit(byteAt(text, i-1)) {
		return
	}
	j := i
	for j > 0 && i-j < maxName && inUserName(text[j-1]) {
		j--
	}
	if j == i || j < 3 {
		return
	}
	if text[j-1] == '"' || text[j-1] == '\'' {
		j--
	}
	if !userFlag(text[:j]) {
		return
	}
	end := r.unquotedEnd(i + 1)
	if head := text[i+1 : min(end, i+1+maxHead)]; len(head) >= 6 && !isTemplate(head) && looksLikeCredential(head) {
		r.add(i+1, end, EntitySecret)
	}
}

// inUserName reports whether user names hold a byte.
func inUserName(c byte) bool { return isWord(c) || c == '-' || c == '.' || c == '@' }

// userFlag reports whether a text ends with an option that takes a user name.
func userFlag(text []byte) bool {
	n := len(text)
	if text[n-1] != ' ' {
		return false
	}
	return n >= 4 && string(text[n-4:]) == " -u " || n >= 7 && string(text[n-7:]) == "--user "
}

// valueAfter returns the value after the operator at text[i], an empty one when
// there is none.
func (r *scan) valueAfter(i int) value {
	text := r.text
	start := i
	for start < len(text) && start-i < 4 && (text[start] == ':' || text[start] == '=' || text[start] == '>') {
		start++
	}
	pad := start
	for start < len(text) && start-pad < maxPadding && (text[start] == ' ' || text[start] == '\t') {
		start++
	}
	if byteAt(text, start) == '\\' && (byteAt(text, start+1) == '"' || byteAt(text, start+1) == '\'') {
		start++
	}
	switch quote := byteAt(text, start); quote {
	case '"', '\'', '`':
		// The next value begins at the quote found here, so each byte is walked once.
		v := value{start: start + 1, end: start + 1, quoted: true, stop: quote}
		for v.end < len(text) && !v.ends(text[v.end]) {
			v.end++
		}
		r.work += v.end - v.start
		if v.cut = r.goesOn(v.end); !v.cut && byteAt(text, v.end) != quote {
			return value{}
		}
		if !v.cut && text[v.end-1] == '\\' {
			v.end--
		}
		return v
	}
	end := r.unquotedEnd(start)
	return value{start: start, end: end, cut: r.goesOn(end)}
}

// unquotedEnd returns the end of a value without quotes that begins at text[start].
// The last stretch is remembered: a row of assignments without a break is walked
// once.
func (r *scan) unquotedEnd(start int) int {
	if start >= r.plainFrom && start < r.plainTo {
		return r.plainTo
	}
	end := start
	for end < len(r.text) && !endsValue(r.text[end]) {
		end++
	}
	r.plainFrom, r.plainTo, r.nested = start, end, 0
	r.work += end - start
	return end
}

// endsValue reports whether a byte ends a value without quotes.
func endsValue(c byte) bool {
	switch c {
	case ',', ';', '"', '\'', '`', '<', '>', ')', '(', ']', '[', '}', '{', '&', '\\', '|':
		return true
	}
	return c <= ' '
}

// schemeAfter returns the start of the credential after an authentication scheme, 0
// when there is none (RFC 9110, 11.4).
func schemeAfter(text []byte, start, end int) int {
	i := start
	for i < len(text) && i-start < 16 && (isAlpha(text[i]) || text[i] == '-') {
		i++
	}
	if i-start < 4 || byteAt(text, i) != ' ' {
		if end-start >= 16 {
			return start
		}
		return 0
	}
	for n := 0; n < 4 && byteAt(text, i) == ' '; n++ {
		i++
	}
	return i
}

// secretValue judges the value of a name.
func (r *scan) secretValue(kind nameKind, v value, tight bool) bool {
	var buf [maxHead]byte
	defer clear(buf[:]) // the stack keeps nothing of the value
	head, next := r.valueHead(v, &buf)
	r.work += 4 * len(head)
	return len(head) >= 4 && likelySecret(kind, head, v.quoted, tight, next) &&
		!isTemplate(head) && !containsFold(head, "example") && placeholder(head) == 0 && !bytes.HasPrefix(head, []byte("urn:"))
}
