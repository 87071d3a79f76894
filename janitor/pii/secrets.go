// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// alphabet is a set of bytes the variable part of a secret is made of.
type alphabet uint8

const (
	abHex    alphabet = iota // 0-9 a-f A-F
	abDigit                  // 0-9
	abUpper                  // A-Z 0-9
	abAlnum                  // A-Z a-z 0-9
	abWord                   // alnum _
	abURL                    // alnum - _ (base64url)
	abURLDot                 // alnum - _ .
	abStd                    // alnum + / = (base64)
	abAny                    // alnum - _ . + / = ~ % : | *
	alphabets
)

// alphabetBits holds for each byte the alphabets it belongs to.
var alphabetBits = func() (t [256]uint16) {
	extra := [alphabets]string{abWord: "_", abURL: "-_", abURLDot: "-_.", abStd: "+/=", abAny: "-_.+/=~%:|*"}
	for c := range 256 {
		b := byte(c)
		if isHex(b) {
			t[c] |= 1 << abHex
		}
		if isDigit(b) {
			t[c] |= 1 << abDigit
		}
		if isDigit(b) || isUpper(b) {
			t[c] |= 1 << abUpper
		}
		if isAlnum(b) {
			for a := abAlnum; a < alphabets; a++ {
				t[c] |= 1 << a
			}
		}
	}
	for a, list := range extra {
		for i := range len(list) {
			t[list[i]] |= 1 << a
		}
	}
	return t
}()

// check is what must hold for the variable part beyond length and alphabet.
type check uint8

const (
	random check = iota // letters and digits mixed: at least one of each
	plain               // nothing more
	dotted              // random, and at least one dot
	mixed               // letters and digits change throughout; for short prefixes
	dashed              // random, and at least one hyphen
	uuid                // 8-4-4-4-12 hexadecimal digits
)

// format is one vendor's secret.
type format struct {
	vendor   string
	prefix   string // begins at a word boundary, case-sensitive
	min, max int    // length of the variable part
	alpha    alphabet
	check    check
}

// entry is a format with the first bytes of its prefix as one number, which
// rules out most of a bucket at once.
type entry struct {
	format
	mask, head uint32
}

// headOf packs up to four bytes of a prefix and the mask that selects them.
func headOf(prefix string) (mask, head uint32) {
	for i := 0; i < 4 && i < len(prefix); i++ {
		mask |= 0xff << (8 * i)
		head |= uint32(prefix[i]) << (8 * i)
	}
	return mask, head
}

// The index finds the formats that can begin with two given bytes: a hash of
// the bytes leads into bucketed, where formats of one hash lie together.
const indexSize = 1 << 12

func indexHash(a, b byte) int { return (int(a)*67 + int(b)) & (indexSize - 1) }

// formatIndex leads from a hash to the first format of its bucket in bucketed.
var formatIndex, bucketed = func() (index [indexSize]uint16, list []entry) {
	list = append(list, entry{}) // index 0 means none
	buckets := make(map[int][]format)
	for _, f := range formats {
		h := indexHash(f.prefix[0], f.prefix[1])
		buckets[h] = append(buckets[h], f)
	}
	for h := range indexSize {
		if len(buckets[h]) > 0 {
			index[h] = uint16(len(list))
			for _, f := range buckets[h] {
				mask, head := headOf(f.prefix)
				list = append(list, entry{f, mask, head})
			}
			list = append(list, entry{}) // end of bucket
		}
	}
	return index, list
}()

// runs remembers, per alphabet, the last stretch of its bytes, so that many
// prefixes in one long token do not walk it again and again.
type runs [alphabets]struct{ from, end int }

// runEnd returns where the stretch of bytes of an alphabet that covers text[i]
// ends, i if text[i] is none.
func (r *scan) runEnd(a alphabet, i int) int {
	m := &r.runs[a]
	if i >= m.from && i < m.end {
		return m.end
	}
	end := i
	for end < len(r.text) && alphabetBits[r.text[end]]&(1<<a) != 0 {
		end++
	}
	m.from, m.end = i, end
	r.work += end - i
	return end
}

// token looks at a long token text[start:end] for secrets that begin in it: at
// its start and behind each byte that is no letter or digit.
func (r *scan) token(start, end int) {
	text := r.text
	if r.win != nil && r.seen(start, r.runEnd(abAny, end)) {
		return
	}
	if n := end - start; (n == 17 || n == 23) && r.on[recMAC] && text[start+2] == '-' && r.macPairs(start, end) {
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
		if text[p] == '~' && p > 0 && text[p-1] == 'Q' && r.on[recSecret] {
			r.azureSecret(p - 1)
		}
		p++
	}
}

// secretAt tries the formats at text[p] and returns the end of the one found,
// or p.
func (r *scan) secretAt(p int) int {
	text := r.text
	if text[p] == 'e' && text[p+1] == 'y' && text[p+2] == 'J' && r.on[recJWT] {
		if end := r.jwt(p); end > p {
			r.add(p, end, EntityJWT)
			return end
		}
	}
	if r.on[recCrypto] {
		if end := r.cryptoAt(p); end > p {
			r.add(p, end, EntityCrypto)
			return end
		}
	}
	if r.on[recSecret] {
		if end := r.shapeAt(p); end > p {
			r.add(r.telegramNumber(p), end, EntitySecret)
			return end
		}
	}
	at := formatIndex[indexHash(text[p], text[p+1])]
	if at == 0 || !r.on[recSecret] {
		return p
	}
	var four [4]byte
	copy(four[:], text[p:])
	head := binary.LittleEndian.Uint32(four[:])
	best := p
	for k := int(at); bucketed[k].mask != 0; k++ {
		f := &bucketed[k]
		if head&f.mask != f.head {
			continue
		}
		n := len(f.prefix)
		if len(text)-p < n+f.min || string(text[p:p+n]) != f.prefix {
			continue
		}
		end := r.runEnd(f.alpha, p+n)
		for end > p+n && text[end-1] == '.' { // of the sentence
			end--
		}
		if end-p-n < f.min || end-p-n > f.max || !f.holds(text[p+n:end]) {
			continue
		}
		best = max(best, end)
	}
	if best > p {
		start := p
		for _, scheme := range [...]string{"https://", "http://"} { // of the URL of a webhook
			if n := len(scheme); p >= n && string(text[p-n:p]) == scheme {
				start = p - n
				break
			}
		}
		r.add(start, best, EntitySecret)
	}
	return best
}

// isMask tells the characters people blank secrets with.
func isMask(c byte) bool { return c == 'x' || c == 'X' || c == '0' || c == '*' || c == '.' }

// holds tells whether the variable part passes the format's check and is no
// mask such as xxxxxxxx.
func (f *format) holds(body []byte) bool {
	var digit, letter, dot, dash bool
	var seen [4]uint64
	for _, c := range body {
		seen[c>>6] |= 1 << (c & 63)
		switch {
		case isDigit(c):
			digit = true
		case isAlpha(c):
			letter = true
		case c == '.':
			dot = true
		case c == '-':
			dash = true
		}
	}
	distinct := 0
	for _, s := range seen {
		distinct += bits.OnesCount64(s)
	}
	if distinct < 4 && (f.check != plain || isMask(body[0])) {
		return false
	}
	switch f.check {
	case plain:
		return !bytes.Contains(body, []byte("EXAMPLE"))
	case mixed:
		return random62(body) && digitRuns(body) >= 2
	case dotted:
		return dot && (digit || distinct > 12)
	case dashed:
		return dash && (digit || distinct > 12)
	case uuid:
		return guid(body)
	}
	return digit && letter || distinct > 16
}
