// SPDX-License-Identifier: Apache-2.0

package pii

// Program text, and JSON within a text, holds line ends, tabs and brackets as
// escape sequences: in `\n4111111111111111` the letter belongs to no word.

// escapeBefore returns the size of the escape sequence that ends at text[:i], 0
// when there is none: \n, \r, \t, or \u and four hexadecimal digits of a
// character that no word holds. It runs at every word with a digit, so it is
// short enough to inline.
func escapeBefore(text []byte, i int) int {
	if i < 2 || text[i-2] != '\\' && (i < 6 || text[i-6] != '\\') {
		return 0
	}
	return escapeSize(text, i)
}

func escapeSize(text []byte, i int) int {
	if text[i-2] == '\\' && escapeAt(text[:i], i-1) == 1 {
		return 2
	}
	if i >= 6 && text[i-6] == '\\' && escapeAt(text[:i], i-5) == 5 {
		return 6
	}
	return 0
}

// escapeAt returns the size of the rest of an escape sequence at text[i], after
// its backslash, 0 for other sequences.
func escapeAt(text []byte, i int) int {
	switch byteAt(text, i) {
	case 'n', 'r', 't':
		return 1
	case 'u':
		c := 0
		for k := 1; k <= 4; k++ {
			if !isHex(byteAt(text, i+k)) {
				return 0
			}
			c = c<<4 | hexVal(text[i+k])
		}
		if c < 0x80 && !isAlnum(byte(c)) || c >= 0x2000 && c <= 0x206f {
			return 5
		}
	}
	return 0
}

// inWord reports whether a word goes on at text[i].
func inWord(text []byte, i int) bool {
	return isWord(byteAt(text, i-1)) && escapeBefore(text, i) == 0
}
