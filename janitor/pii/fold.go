// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"encoding/binary"
	"math/bits"
	"sync"
	"unicode/utf8"

	"github.com/bauxite/caddy-kvaware/internal/sensitive"
)

// Digits, letters and punctuation of other blocks read the same to models and
// people, but not to the verifiers; characters without width split a number for
// the verifiers alone. The text around such a character is folded to ASCII and
// scanned once more. Findings cover the original bytes; the rest of the text is
// never touched.

// Sizes of a window, in bytes of folded text.
const (
	foldWindow = 8192
	foldMargin = 192 // kept before a character, and between windows

	// maxReach bounds the text a window is folded from: characters without
	// width take no room in it.
	maxReach = 1 << 30
)

// window is folded text with the offset each byte came from.
type window struct {
	text [foldWindow]byte
	from [foldWindow]uint32 // from base
	base int
	out  []Span
}

// windows are reused, and wiped before they go back.
var windows = sync.Pool{New: func() any {
	w := new(window)
	sensitive.Register("folded text", w.text[:])
	return w
}}

// fold scans the neighbourhood of every character that folds.
func (r *scan) fold() {
	r.extendSecrets()
	var w *window
	for i := r.nextFold(0); i >= 0; {
		if w == nil {
			w = windows.Get().(*window)
		}
		start := max(0, i-foldMargin)
		for start > 0 && start < i && !utf8.RuneStart(r.text[start]) {
			start++
		}
		end := r.foldWindow(w, start, i)
		if end >= len(r.text) {
			break
		}
		i = r.nextFold(end)
	}
	if w != nil {
		windows.Put(w)
	}
}

// extendSecrets extends the secrets of the first pass over the characters after
// them that fold to possible parts of a secret.
func (r *scan) extendSecrets() {
	from, to := 0, 0 // the last stretch walked
	for k := range r.out {
		sp := &r.out[k]
		if !sp.Entity.Secret() || byteAt(r.text, sp.End) < utf8.RuneSelf {
			continue
		}
		if sp.End < from || sp.End >= to {
			from, to = sp.End, secretEnd(r.text, sp.End, sp.Entity)
		}
		sp.End = max(sp.End, to)
	}
}

// foldWindow folds and scans text[start:] up to a margin after the last
// character that folds, or until the window is full. The window is for the
// character at text[first]. It returns where to go on: after a secret that
// reaches out of the window, at the latest.
func (r *scan) foldWindow(w *window, start, first int) int {
	text := r.text
	n, i, last := 0, start, first
	w.base = start
	for i < len(text) && n < foldWindow && i-last < foldMargin && i-start < maxReach {
		c := text[i]
		if c < utf8.RuneSelf {
			w.text[n], w.from[n] = c, uint32(i-start)
			n++
			i++
			continue
		}
		to, size := foldRune(text[i:])
		if to == foldNone {
			for k := 0; k < size && n < foldWindow; k++ {
				w.text[n], w.from[n] = text[i+k], uint32(i+k-start)
				n++
			}
		} else {
			last = max(last, i)
			if to != foldDrop {
				w.text[n], w.from[n] = byte(to), uint32(i-start)
				n++
			}
		}
		i += size
	}
	inner := scan{Scanner: r.Scanner, text: w.text[:n], out: w.out[:0], part: r.part || start > 0 || i < len(text), win: w, outer: text}
	if i < len(text) {
		inner.beyond = i
	}
	inner.runPlain()
	r.work += inner.work + (i - start) + n
	reach := 0
	for _, sp := range inner.out {
		from := start + int(w.from[sp.Start])
		to := start + int(w.from[sp.End-1])
		_, size := utf8.DecodeRune(text[to:])
		end := to + size
		if sp.End == n && inner.beyond > 0 && sp.Entity.Secret() {
			// A secret that the window cuts is taken to its own end.
			end = max(end, inner.reach, secretEnd(text, i, sp.Entity))
			r.work += end - i
			reach = max(reach, end)
		}
		r.add(from, end, sp.Entity)
	}
	w.out = inner.out[:0]
	sensitive.Wipe(w.text[:n:n])
	if i < len(text) && i-last < foldMargin { // full: go on inside it, so that nothing is cut
		return max(i-foldMargin, start+foldMargin, reach)
	}
	return max(i, reach)
}

// pure reports whether nothing folded in text[start:end] of a window, so that
// the first pass has seen it as it stands.
func (w *window) pure(start, end int) bool {
	return int(w.from[end-1]-w.from[start]) == end-1-start
}

// foldedIn reports whether something folded in text[start:end], so that a
// finding there is new; outside of windows every finding is.
func (r *scan) foldedIn(start, end int) bool { return r.win == nil || !r.win.pure(start, end) }

// unjudged reports whether the word text[start:end] is still to be judged:
// something folded in it, and where findings are masked, it stands beside one.
func (r *scan) unjudged(start, end int) bool {
	return r.foldedIn(start, end) && (!r.masked || byteAt(r.text, start-1) == ']' || byteAt(r.text, end) == '[')
}

// scannedBefore reports whether the first pass has scanned text[start:end] and
// its surroundings unfolded, so that a window finds nothing new there.
func (r *scan) scannedBefore(start, end int) bool {
	return r.win != nil && end+numberReach < len(r.text) && r.win.pure(max(0, start-numberReach), end+numberReach)
}

// numberReach bounds the bytes by which a finding can extend around its digits
// or a token: a month, an extension, a scheme.
const numberReach = 24

// goesOn reports whether a stretch that ends at text[end] goes on after the
// window.
func (r *scan) goesOn(end int) bool { return r.beyond > 0 && end == len(r.text) }

// foldHead folds text into buf until that is full, and returns the length.
func foldHead(buf, text []byte) int {
	n := 0
	for i := 0; i < len(text) && n < len(buf); {
		to, size := foldAt(text[i:])
		switch to {
		case foldNone:
			n += copy(buf[n:], text[i:i+size])
		case foldDrop:
		default:
			buf[n] = byte(to)
			n++
		}
		i += size
	}
	return n
}

// foldAt is foldRune for ASCII as well.
func foldAt(text []byte) (to, size int) {
	if text[0] < utf8.RuneSelf {
		return int(text[0]), 1
	}
	return foldRune(text)
}

// valueEnd returns the end of a value that goes on at text[i]: at its quote,
// or, when stop is 0, at a byte that ends values without quotes.
func valueEnd(text []byte, i int, stop byte) int {
	v := value{quoted: stop != 0, stop: stop}
	for i < len(text) {
		to, size := foldAt(text[i:])
		if to >= 0 && v.ends(byte(to)) {
			break
		}
		i += size
	}
	return i
}

// secretEnd returns the end of a secret that goes on at text[i], after a
// window: a key block at its last line, a token at a byte outside its alphabet.
func secretEnd(text []byte, i int, e Entity) int {
	dashes, limit := 0, len(text)
	if e == EntityPrivateKey {
		limit = min(limit, i+maxPEM)
	}
	for i < limit {
		to, size := foldAt(text[i:])
		switch {
		case to == foldDrop:
		case to < 0:
			return i
		case e == EntityPrivateKey:
			if to == '-' {
				dashes++
			} else if !inPEM(byte(to)) {
				return i
			}
			if dashes == 10 { // "-----END PRIVATE KEY-----"
				return i + size
			}
		case alphabetBits[to]&(1<<abAny) == 0:
			return i
		}
		i += size
	}
	return i
}

// Results of foldRune other than an ASCII byte.
const (
	foldNone = -1 // the rune stays as it is
	foldDrop = -2 // the rune has no width and goes
)

// nextFold returns the offset of the next character from text[i] on that folds
// and could belong to a finding, -1 when there is none.
func (r *scan) nextFold(i int) int {
	text := r.text
	for i < len(text) {
		c := text[i]
		if c < utf8.RuneSelf {
			i = nextHigh(text, i)
			continue
		}
		if !folds[c] {
			i += runeSize(text[i:])
			continue
		}
		to, size := foldRune(text[i:])
		if to != foldNone && foldMatters(text, i, size, to) {
			return i
		}
		i += size
	}
	return -1
}

// nextHigh returns the offset of the next byte from text[i] on that is not
// ASCII, the length of the text when there is none.
func nextHigh(text []byte, i int) int {
	for ; i+8 <= len(text); i += 8 {
		if high := binary.LittleEndian.Uint64(text[i:]) & highs; high != 0 {
			return i + bits.TrailingZeros64(high)/8
		}
	}
	for i < len(text) && text[i] < utf8.RuneSelf {
		i++
	}
	return i
}

// foldMatters reports whether the character text[i:i+size], which folds, could
// belong to a finding: a digit or a letter, an operator after a name, or a
// space, hyphen or character without width beside a letter, digit or "@".
func foldMatters(text []byte, i, size, to int) bool {
	before, after := byteAt(text, i-1), byteAt(text, i+size)
	switch {
	case text[i] == 0xcc || text[i] == 0xcd: // a mark; only on digits it is strange
		return isDigit(before)
	case to > ' ' && isAlnum(byte(to)), to == '@', to == '%':
		return true
	case (to == ':' || to == '=') && (before == '"' || before == '\''):
		return true // after a name in quotes
	}
	return joins(before) || joins(after)
}

// joins reports whether a finding could go on with c.
func joins(c byte) bool { return isAlnum(c) || c == '@' }

// folds marks the first bytes of runes that may fold.
var folds = func() (t [256]bool) {
	for _, c := range []byte{0xc2, 0xcc, 0xcd, 0xd8, 0xd9, 0xdb, 0xe0, 0xe1, 0xe2, 0xe3, 0xef, 0xf0, 0xf3} {
		t[c] = true
	}
	return t
}()

// runeSize returns the size of the rune at the start of text from its first
// byte alone, at least one and at most len(text).
func runeSize(text []byte) int {
	n := 1
	switch c := text[0]; {
	case c >= 0xf0:
		n = 4
	case c >= 0xe0:
		n = 3
	case c >= 0xc0:
		n = 2
	}
	return min(n, len(text))
}

// foldRune returns the folded form of the rune at the start of text, and its
// size. The ranges are those of the Unicode compatibility decompositions of
// ASCII that occur in identifiers, of other decimal digits, of spaces and
// hyphens, and of the default ignorable code points.
func foldRune(text []byte) (to, size int) {
	c, size := utf8.DecodeRune(text)
	switch {
	case isWideSpace(c):
		return ' ', size
	case isMark(c), isFiller(c), isIgnorable(c):
		return foldDrop, size
	case isHyphen(c):
		return '-', size
	case isFullStop(c):
		return '.', size
	case c >= 0xff01 && c <= 0xff5e: // full-width ASCII
		return int(c - 0xff01 + '!'), size
	case c == 0xfe6b: // small commercial at
		return '@', size
	case c >= 0x1d400 && c <= 0x1d6a3: // mathematical letters, thirteen styles
		return foldLetter(int(c - 0x1d400)), size
	}
	if d := decimalDigit(c); d >= 0 {
		return '0' + d, size
	}
	return foldNone, size
}

// isWideSpace reports whether c is a space other than that of ASCII, or the
// blank of Braille.
func isWideSpace(c rune) bool {
	return c == 0xa0 || c == 0x1680 || c >= 0x2000 && c <= 0x200a || c == 0x202f || c == 0x205f || c == 0x2800 || c == 0x3000
}

// isMark reports whether c is a combining mark. On letters, marks are part of
// the word.
func isMark(c rune) bool { return c >= 0x300 && c <= 0x36f }

// isFiller reports whether c is a filler or an invisible vowel of one script.
func isFiller(c rune) bool {
	switch c {
	case 0x61c, 0x115f, 0x1160, 0x17b4, 0x17b5, 0x180b, 0x180c, 0x180d, 0x180e, 0x180f, 0x3164, 0xffa0:
		return true
	}
	return false
}

// isIgnorable reports whether c has no width: the soft hyphen, joiners,
// directions, variation selectors, tags.
func isIgnorable(c rune) bool {
	return c == 0xad || c >= 0x200b && c <= 0x200f || c >= 0x202a && c <= 0x202e || c >= 0x2060 && c <= 0x206f || c == 0xfeff ||
		c >= 0xfe00 && c <= 0xfe0f || c >= 0xe0000 && c <= 0xe01ef
}

// isHyphen reports whether c is a hyphen, dash, minus sign or the long vowel
// mark of Katakana.
func isHyphen(c rune) bool {
	return c >= 0x2010 && c <= 0x2015 || c == 0x2043 || c == 0x2212 || c == 0x30fc || c == 0xfe58 || c == 0xfe63
}

// isFullStop reports whether c is the one dot leader or a full stop of Chinese
// or Japanese.
func isFullStop(c rune) bool { return c == 0x2024 || c == 0x3002 || c == 0xff61 }

// decimalDigit returns the value of a decimal digit of another script, -1 for
// other runes.
func decimalDigit(c rune) int {
	switch {
	case c >= 0x660 && c <= 0x669: // Arabic
		return int(c - 0x660)
	case c >= 0x6f0 && c <= 0x6f9: // Persian
		return int(c - 0x6f0)
	case c >= 0x966 && c <= 0xd6f: // Devanagari to Malayalam: blocks of 128, digits at 0x66
		if d := c & 0x7f; d >= 0x66 && d <= 0x6f {
			return int(d - 0x66)
		}
	case c >= 0xe50 && c <= 0xe59: // Thai
		return int(c - 0xe50)
	case c >= 0x1d7ce && c <= 0x1d7ff: // mathematical digits, five styles
		return int(c-0x1d7ce) % 10
	}
	return -1
}

// foldLetter returns letter k of the rows of capitals and small letters.
func foldLetter(k int) int {
	if k %= 52; k < 26 {
		return 'A' + k
	}
	return 'a' + k - 26
}
