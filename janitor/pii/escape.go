// SPDX-License-Identifier: Apache-2.0

package pii

// Texts of programs, and JSON within a text, hold line ends, tabs and brackets
// as escape sequences: in `\n4111111111111111` the letter is no part of a word.

// escapeBefore returns the size of the escape sequence that ends at text[:i],
// 0 when there is none: \n, \r, \t, or \u and the four hexadecimal digits of
// what no word is made of. It is asked at every word with a digit, and kept
// short for that.
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

// escapeAt returns the size of what belongs to the escape sequence whose
// backslash stands in front of text[i], 0 when it is none of those.
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
