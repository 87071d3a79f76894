// SPDX-License-Identifier: Apache-2.0

package pii

// alphabet is a set of bytes; the variable part of a secret is made of one.
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

// runs remembers, per alphabet, the last stretch of its bytes, so that many
// prefixes in one long token do not walk it again and again.
type runs [alphabets]struct{ from, end int }

// runEnd returns the end of the stretch of bytes of an alphabet around text[i],
// i when text[i] is not in the alphabet.
func (r *scan) runEnd(a alphabet, i int) int {
	m := &r.runs[a]
	if i >= m.from && i < m.end {
		return m.end
	}
	end := i + a.prefix(r.text[i:])
	m.from, m.end = i, end
	r.work += end - i
	return end
}

// prefix returns the number of bytes of the alphabet that text begins with.
func (a alphabet) prefix(text []byte) int {
	for n, c := range text {
		if alphabetBits[c]&(1<<a) == 0 {
			return n
		}
	}
	return len(text)
}
