// SPDX-License-Identifier: Apache-2.0

package pii

import "strings"

// Byte classes of the verifiers: one table look-up answers several questions.
const (
	clsDigit uint8 = 1 << iota // 0-9
	clsUpper                   // A-Z
	clsLower                   // a-z
	clsHex                     // 0-9 a-f A-F
	clsURL64                   // base64url: alnum - _
	clsStd64                   // base64: alnum + /
	clsHigh                    // a byte of a non-ASCII rune
	clsSpace                   // white space and controls
)

const clsAlpha = clsUpper | clsLower
const clsAlnum = clsAlpha | clsDigit

// class holds the classes of each byte.
var class = func() (t [256]uint8) {
	for c := range 256 {
		b := byte(c)
		switch {
		case b >= '0' && b <= '9':
			t[c] = clsDigit | clsHex | clsURL64 | clsStd64
		case b >= 'A' && b <= 'Z':
			t[c] = clsUpper | clsURL64 | clsStd64
		case b >= 'a' && b <= 'z':
			t[c] = clsLower | clsURL64 | clsStd64
		case b == '-' || b == '_':
			t[c] = clsURL64
		case b == '+' || b == '/':
			t[c] = clsStd64
		case b >= 0x80:
			t[c] = clsHigh
		case b <= ' ':
			t[c] = clsSpace
		}
		if b >= 'a' && b <= 'f' || b >= 'A' && b <= 'F' {
			t[c] |= clsHex
		}
	}
	return t
}()

func isDigit(c byte) bool { return c-'0' <= 9 }
func isAlpha(c byte) bool { return c|0x20-'a' < 26 }
func isAlnum(c byte) bool { return class[c]&clsAlnum != 0 }
func isUpper(c byte) bool { return c-'A' < 26 }
func isLower(c byte) bool { return c-'a' < 26 }
func isHex(c byte) bool   { return class[c]&clsHex != 0 }

// allAlnum reports whether all eight bytes are letters or digits; see masks.
func allAlnum(x uint64) bool {
	y := x & lows
	digit := (y + ones*(0x80-0x30)) &^ (y + ones*(0x80-0x3a))
	y |= ones * 0x20
	letter := (y + ones*(0x80-0x61)) &^ (y + ones*(0x80-0x7b))
	return (digit|letter)&^x&highs == highs
}

// isWord reports whether \w of regular expressions matches c.
func isWord(c byte) bool { return c == '_' || class[c]&clsAlnum != 0 }

// lower folds an ASCII letter to lower case and leaves other letters' bytes
// and digits alone; it is only meaningful for letters.
func lower(c byte) byte {
	if isUpper(c) {
		return c | 0x20
	}
	return c
}

// hexVal is the value of a hexadecimal digit.
func hexVal(c byte) int {
	if isDigit(c) {
		return int(c - '0')
	}
	return int(c|0x20-'a') + 10
}

// byteAt returns text[i], or 0 outside the text: a boundary to every verifier.
func byteAt(text []byte, i int) byte {
	if uint(i) < uint(len(text)) {
		return text[i]
	}
	return 0
}

// equalFold compares b with an ASCII lower-case word without regard to case.
func equalFold(b []byte, word string) bool {
	if len(b) != len(word) {
		return false
	}
	for i := range len(b) {
		if lower(b[i]) != word[i] {
			return false
		}
	}
	return true
}

// set makes a set of the words of a list.
func set(list string) map[string]bool {
	m := make(map[string]bool)
	for _, w := range strings.Fields(list) {
		m[w] = true
	}
	return m
}
