// SPDX-License-Identifier: Apache-2.0

package pii

import "testing"

// TestPhoneForms holds the forms of phone_nanp.go, phone_trunk.go,
// phone_national.go and phone_international.go.
func TestPhoneForms(t *testing.T) {
	joined := func(c *chain, i, k int) bool { return c.joinedNANP(i, i+k-3) }
	checkChainRules(t, []chainRule{
		{"threeThreeFour", func(c *chain, i, _ int) bool { return c.threeThreeFour(i) }, "415 555 0132", "415 5550 132"},
		{"area code in parentheses", joined, "(415) 555-0132", "415) 555 0132"},
		{"hyphens", joined, "415-555-0132", "415.555-0132"},
		{"dots", joined, "415.555.0132", "415 555.0132"},
		{"hyphen behind 1", joined, "1-800.555-0199", "1.800.555-0199"},
		{"slash", joined, "415/555-0132", "415.555-0132"},
		{"space and an area code", joined, "415 555-0132", "115 555-0132"},
		{"trunkSetOff", (*chain).trunkSetOff, "0171/1234567", "02110-1301"},
		{"codeApart", (*chain).codeApart, "0049 30 901820", "0010 0020 0030"},
		{"zeroArea", (*chain).zeroArea, "(020) 7946 0958", "(020) 79 460958"},
		{"brazilian", (*chain).brazilian, "(11) 91234-5678", "(11) 91234 5678"},
		{"russian", (*chain).russian, "(495) 123-45-67", "(495) 123-45-678"},
	})
	for _, s := range zeroShapes {
		shaped := func(c *chain, i, _ int) bool { return c.hasShape(i, s.lens) }
		checkChainRules(t, []chainRule{{s.lens, shaped, s.match, s.noMatch}})
	}
	for digits, want := range map[string]int{"0049": 2, "011": 3, "001": 2, "0171": 0, "49": 0, "0": 0, "01": 0} {
		if got := exitCode([]byte(digits)); got != want {
			t.Errorf("%s: exit code of %d digits, want %d", digits, got, want)
		}
	}
	checkTextRules(t, []textRule{
		{"validArea", validArea, "415", "911"},
		{"year", likeYear, "1982", "8219"},
		{"timestamp", isTimestamp, "1700000000", "1400000000"},
		{"bits01", isBitPattern, "0101-1100", "0101-1200"},
		{"round", func(d []byte) bool { return isRound(d, 6) }, "256000000", "256000100"},
	})
}
