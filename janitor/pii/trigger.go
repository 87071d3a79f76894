// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"bytes"
	"encoding/binary"
)

// colon looks at a byte from ':' to '=': part of an address, or an operator
// between a name and its value.
func (r *scan) colon(i int) {
	switch r.text[i] {
	case ':':
		if next := byteAt(r.text, i+1); (next == ':' || isHex(next)) && i >= r.hexDone && (r.finds(&ip) || r.finds(&ipPrivate) || r.finds(&mac)) {
			r.ipv6(i)
		}
		fallthrough
	case '=':
		if r.finds(&assignment) {
			r.assignment(i)
		}
	case '<':
		if r.finds(&assignment) && byteAt(r.text, i+1) == '/' {
			r.element(i)
		}
	}
}

// number looks at a run of digits that begins at text[p].
func (r *scan) number(p int) {
	text := r.text
	if p > 0 && isAlpha(text[p-1]) {
		if p >= 8 && allAlnum(binary.LittleEndian.Uint64(text[p-8:])) {
			return // within a longer word, as most digits of encoded data are
		}
		if escapeBefore(text, p) == 0 {
			r.numberAfterLetters(p)
			return
		}
	}
	if p > 0 && beforePassword[text[p-1]] && r.finds(&assignment) && passwordCouldBegin(text, p) {
		r.prosePassword(p)
	}
	if p < r.numDone {
		return
	}
	end := digitsEnd(text, p)
	next := byteAt(text, end)
	if end-p < 6 && !separator(next) && !isAlpha(next) && (next != ',' || !isAlpha(byteAt(text, p-2))) {
		r.numDone = end
		if end-p >= 5 && !inWord(text, p) {
			r.document(p, end)
		}
		return // too few digits for any number, and nothing follows
	}
	c := &r.chain
	c.parse(text, p, end)
	r.numDone = c.g[c.n-1].end
	r.work += r.numDone - p
	if r.scannedBefore(p, r.numDone) || c.isPartOnly() && !r.besideWord(p, r.numDone) {
		return
	}
	r.numbers(c)
}

// numbers looks at every group of a chain as the beginning of a word and of a
// number.
func (r *scan) numbers(c *chain) {
	p := c.g[0].start
	covered := p // by hardware addresses, as far as they follow on each other
	for i := 0; i < c.n; i++ {
		if end := r.groupWord(c.g[i]); c.g[i].start <= covered {
			covered = max(covered, end)
		}
	}
	if c.isFraction() || covered >= r.numDone {
		return
	}
	for i := 0; i < c.n; {
		r.work += workGroup
		n := r.groupsAt(c, i)
		i += max(1, n)
		if n > 0 {
			c.done = i
		}
	}
}

// besideWord reports whether letters stand close enough to text[p:end] for a
// date with the name of a month, or for a word that begins with the digits.
func (r *scan) besideWord(p, end int) bool {
	return isAlpha(byteAt(r.text, p-2)) || isAlpha(byteAt(r.text, p-3)) || isAlpha(byteAt(r.text, end)) || isAlpha(byteAt(r.text, end+1)) || isAlpha(byteAt(r.text, end+2))
}

// groupWord looks at a group as the beginning of a word: the number of a
// document, a hardware address, a code. It returns the end of the hardware
// address, or 0.
func (r *scan) groupWord(g group) int {
	if p := g.start; p > 0 && isWord(r.text[p-1]) && escapeBefore(r.text, p) == 0 {
		return 0 // no word begins here
	}
	if g.len() >= 4 {
		r.document(g.start, g.end)
	}
	end := 0
	if r.dottedMAC(g.start) {
		end = g.start + dottedMACLen
	}
	if isAlpha(byteAt(r.text, g.end)) {
		r.word(g.start)
	}
	return end
}

// groupsAt tries every kind of number at group i and returns the number of
// groups of the one found, or zero. The length of the first group and the
// digits that follow rule most kinds out.
func (r *scan) groupsAt(c *chain, i int) int {
	if !c.begins(i) {
		return 0
	}
	rest := c.rest[i]
	if byteAt(c.text, c.g[i].start-1) == '+' {
		if rest >= 7 && r.finds(&phone) {
			return r.phone(c, i)
		}
		return 0
	}
	found := r.checkedNumber(c, i)
	if found == 0 && r.finds(&dob) {
		found = r.birthday(c, i)
	}
	if found == 0 && rest >= 6 && r.finds(&phone) {
		found = r.phone(c, i)
	}
	return found
}

// checkedNumber tries the kinds that have check digits or a shape of their own.
func (r *scan) checkedNumber(c *chain, i int) int {
	first, rest, found := c.g[i].len(), c.rest[i], 0
	if rest >= 12 && r.finds(&card) {
		found = r.card(c, i)
	}
	if found == 0 && first <= 3 && c.gap(i+1) == '.' && (r.finds(&ip) || r.finds(&ipPrivate)) {
		found = r.ipv4(c, i)
	}
	if found == 0 && rest >= 6 {
		found = r.codeInGroups(c, i)
	}
	if found == 0 && rest >= 8 {
		found = r.nationalNumber(c, i)
	}
	if found == 0 && rest >= 9 && (first == 3 || first == 5 || first == 9) {
		found = r.ssn(c, i)
	}
	return found
}

// numberAfterLetters looks at digits directly after a letter, at text[p]:
// numbers that begin with letters.
func (r *scan) numberAfterLetters(p int) {
	text := r.text
	start := p - 1
	for start > 0 && p-start <= 6 && isAlpha(text[start-1]) && escapeBefore(text, start) == 0 {
		start--
	}
	letters := p - start
	if (letters > 6 || start > 0 && beforePassword[text[start-1]] && passwordCouldBegin(text, start)) && r.finds(&assignment) {
		r.prosePassword(p)
	}
	if inWord(text, start) {
		return
	}
	if letters == 2 && r.finds(&iban) {
		r.iban(start, p)
	}
	if letters <= 3 {
		r.document(start, start)
		r.dottedMAC(start)
	}
	digits := 1
	for digits < 7 && isDigit(byteAt(text, p+digits)) {
		digits++
	}
	if wordBegins(letters, digits) {
		r.word(start)
	}
}

// wordBegins reports whether any pattern of the recognizers begins with so many
// letters and then so many digits, counted up to seven.
func wordBegins(letters, digits int) bool {
	return digits >= 6 && letters != 3 || letters == 5 && digits >= 4 || letters == 6 && digits >= 2
}

// dottedMAC looks at text[start:] for a hardware address in groups of four.
func (r *scan) dottedMAC(start int) bool {
	return byteAt(r.text, start+4) == '.' && r.finds(&mac) && r.macDotted(start)
}

// mails hands every "@" and "%40" to the verifier of addresses.
func (r *scan) mails() {
	if !r.finds(&email) && !r.finds(&urlCredentials) {
		return
	}
	for from := 0; from < len(r.text); {
		i := bytes.IndexByte(r.text[from:], '@')
		if i < 0 {
			break
		}
		from += i + 1
		r.mail(from-1, from)
	}
	for from := 0; from < len(r.text); {
		i := bytes.Index(r.text[from:], []byte("%40"))
		if i < 0 {
			break
		}
		from += i + 3
		r.mail(from-3, from)
	}
}

// token looks at a long token text[start:end] for secrets that begin in it: at
// its start, and after each byte that is no letter or digit.
func (r *scan) token(start, end int) {
	text := r.text
	if r.win != nil && r.scannedBefore(start, r.runEnd(abAny, end)) {
		return
	}
	if n := end - start; (n == 17 || n == 23) && r.finds(&mac) && text[start+2] == '-' && r.macPairs(start, end) {
		return
	}
	p := start
	if start > 0 && isWord(text[start-1]) {
		p = r.runEnd(abAlnum, start)
	}
	for p+2 < end {
		if isAlnum(text[p]) {
			r.work += workFormat
			done := r.secretAt(p)
			if done == p && p > 0 && text[p-1] == '\\' {
				done += escapeAt(text, p)
			}
			if done == p {
				done = r.runEnd(abAlnum, p)
			}
			p = done
			continue
		}
		if text[p] == '~' && p > 0 && text[p-1] == 'Q' && r.finds(&secret) {
			r.azureSecret(p - 1)
		}
		p++
	}
}

// secretAt tries the formats at text[p] and returns the end of the one found,
// or p.
func (r *scan) secretAt(p int) int {
	text := r.text
	if text[p] == 'e' && text[p+1] == 'y' && text[p+2] == 'J' && r.finds(&jwt) {
		if end := r.jwt(p); end > p {
			r.add(p, end, EntityJWT)
			return end
		}
	}
	if r.finds(&crypto) {
		if end := r.cryptoAt(p); end > p {
			r.add(p, end, EntityCrypto)
			return end
		}
	}
	if !r.finds(&secret) {
		return p
	}
	if end := r.shapeAt(p); end > p {
		r.add(r.telegramNumber(p), end, EntitySecret)
		return end
	}
	end := r.formatAt(p)
	if end > p {
		r.add(webhookStart(text, p), end, EntitySecret)
	}
	return end
}

// codeInGroups looks at group i for codes with letters that are also written in
// groups: UK national insurance numbers (AB 12 34 56 C), Finnish identity codes
// (131052-308T), Spanish NIF (12345678-Z).
func (r *scan) codeInGroups(c *chain, i int) int {
	switch c.g[i].len() {
	case 2:
		if _, ok := c.lens(i, 2, 2, 2); ok && r.finds(&ukNINO) {
			return r.spacedNINO(c, i, 3)
		}
	case 6:
		if r.finds(&ukNINO) && i == 0 {
			if n := r.spacedNINO(c, i, 1); n > 0 {
				return n
			}
		}
		if sep, ok := c.lens(i, 6, 3); ok && sep == '-' && r.finds(&fiHETU) {
			return r.dashedHETU(c, i)
		}
	case 8:
		if r.finds(&esNIF) {
			return r.dashedNIF(c, i)
		}
	}
	return 0
}
