// SPDX-License-Identifier: Apache-2.0

package pii

// closesPlaceholder reports whether a placeholder ends at text[:end].
func closesPlaceholder(text []byte, end int) bool {
	for i := end - 2; i >= 0 && end-i <= maxPlaceholder; i-- {
		if text[i] == '[' {
			return placeholder(text[i:]) == end-i
		}
		if !isWord(text[i]) {
			return false
		}
	}
	return false
}

// insidePlaceholder reports whether a finding lies within "[EMAIL_1]",
// "[EMAIL_7f3a9c]" or "[REDACTED]", brackets included.
func insidePlaceholder(text []byte, sp Span) bool {
	for i := sp.Start; i >= 0 && i > sp.Start-maxPlaceholder; i-- {
		if text[i] == '[' {
			n := placeholder(text[i:])
			return n > 0 && i+n >= sp.End
		}
		if i < sp.Start && !isWord(text[i]) {
			return false
		}
	}
	return false
}

// maxPlaceholder bounds the length of a placeholder: a label of at most 40
// bytes, a number or tag of at most 20, brackets and an underscore.
const maxPlaceholder = 64

// Bounds of a placeholder, besides the letters of its label.
const (
	maxLabelDigits = 3  // digits in the label; values with letters have more
	maxNumber      = 8  // digits after the label
	maxTag         = 12 // or hexadecimal digits, one of them a letter
)

// placeholder returns the length of the placeholder that text begins with, or
// zero: "[" label "_" number or lower-case hexadecimal tag "]", or
// "[REDACTED]". Codes and keys in upper case can stand in brackets too, and are
// not placeholders.
func placeholder(text []byte) int {
	if len(text) < 3 || text[0] != '[' || !isUpper(text[1]) {
		return 0
	}
	i, under, digits, labelDigits, letters := 1, 0, 0, 0, 0
	for ; i < len(text) && i < maxPlaceholder; i++ {
		c := text[i]
		switch {
		case c == ']':
			return placeholderEnd(text[:i+1], under, labelDigits, digits, letters)
		case c == '_':
			under, labelDigits, digits = i, labelDigits+digits, 0
		case isDigit(c):
			digits++
		case isUpper(c):
		case under > 0 && isHex(c):
			letters++
		default:
			return 0
		}
	}
	return 0
}

// placeholderEnd judges text in brackets by the place of its last underscore,
// the digits before and after it, and the lower-case letters. The marks that
// edges.go puts over findings are shorter than any value.
func placeholderEnd(text []byte, under, labelDigits, digits, letters int) int {
	n := len(text)
	tag := n - under - 2
	switch {
	case n < 6, string(text) == "[REDACTED]":
		return n
	case under == 0, labelDigits > maxLabelDigits, tag != digits+letters:
		return 0
	case letters == 0 && 0 < digits && digits <= maxNumber, letters > 0 && tag <= maxTag:
		return n
	}
	return 0
}
