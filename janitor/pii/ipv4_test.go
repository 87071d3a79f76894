// SPDX-License-Identifier: Apache-2.0

package pii

import "testing"

func TestIPv4Rules(t *testing.T) {
	quad := func(c *chain, i, _ int) bool { _, ok := c.quad(i); return ok }
	goesOn := func(c *chain, i, _ int) bool { return c.quadGoesOn(i) }
	checkChainRules(t, []chainRule{
		{"quad", quad, "81.2.69.142", "81.02.69.142"},
		{"quad of bytes", quad, "255.1.1.1", "256.1.1.1"},
		{"quadGoesOn", goesOn, "81.2.69.142.5", "81.2.69.142/24"},
		{"quadGoesOn in a word", goesOn, "81.2.69.142-rc", "81.2.69.142. The"},
		{"quadGoesOn with a build", goesOn, "81.2.69.142+b", "81.2.69.142 +b"},
	})
	sign := func(two []byte) bool { return versionSign(two[0], two[1]) }
	versionAhead := func(text []byte) bool { return (&scan{text: text}).versionBefore(len(text)) }
	checkTextRules(t, []textRule{
		{"operator", sign, "==", "x="},
		{"product", sign, "e/", "//"},
		{"bound", sign, " >", "t>"},
		{"number", sign, " #", " @"},
		{"versionBefore", versionAhead, "version: ", "server: "},
		{"versionBefore sections", versionAhead, "§ ", "& "},
		{"released", func(text []byte) bool { return (&scan{text: text}).versionWordBefore(len(text)) }, "update V8 to ", "update 1234567 to "},
		{"betweenNumbers", func(text []byte) bool { return betweenNumbers(text, 4, 6) }, "1.5 xx 2.5", "1.5 xx, 2.5"},
	})
	for _, c := range []struct {
		text        string // with "Q" for the quad
		quad        [4]byte
		isNumbering bool
	}{
		{"x Q y", [4]byte{5, 6, 7, 8}, true},
		{"host Q y", [4]byte{5, 6, 7, 8}, false},
		{"x Q:443", [4]byte{5, 6, 7, 8}, false},
		{"from Q y", [4]byte{5, 6, 7, 8}, false},
		{"x Q y", [4]byte{2, 5, 29, 14}, true}, // of X.500
		{"x Q y", [4]byte{81, 12, 69, 142}, false},
		{"x Q y", [4]byte{5, 34, 120, 99}, false},
	} {
		r := &scan{text: []byte(c.text)}
		for start := range c.text {
			if c.text[start] == 'Q' {
				if got := r.looksLikeVersion(c.quad, start, start+1); got != c.isNumbering {
					t.Errorf("%q with %v: %v", c.text, c.quad, got)
				}
			}
		}
	}
}
