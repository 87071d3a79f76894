// SPDX-License-Identifier: Apache-2.0

package pii

import "testing"

func TestPatternsOfWords(t *testing.T) {
	for _, c := range []struct{ pattern, match, noMatch string }{
		{"99999999A", "12345678Z", "123456789"},
		{"A9999999A", "X1234567L", "11234567L"},
		{"9AX9", "1EG4", "1E4A"},
	} {
		checkTextRules(t, []textRule{{c.pattern, func(text []byte) bool { return matchesPattern(text, c.pattern) }, c.match, c.noMatch}})
	}
	for _, b := range recognizers {
		for length, list := range writingsByLength {
			for _, w := range list {
				if w.of == b && (length < minCode || length > maxIDNumber) {
					t.Errorf("%s: %q is shorter or longer than the words looked at", b.name, w.pattern)
				}
			}
		}
	}
}

// TestWordsOfTheirOwn checks that a word is taken whole, and in small letters
// only beside another word.
func TestWordsOfTheirOwn(t *testing.T) {
	checkFindings(t, []finding{
		{"S2740116C", []string{"SG_FIN:S2740116C"}},
		{"nric s2740116c", []string{"SG_FIN:s2740116c"}},
		{"commit s2740116c", nil},
		{"NRIC xS2740116C NRIC S2740116C-1 NRIC 9-S2740116C", nil},
	})
}
