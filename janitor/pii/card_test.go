// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestCardsLikeARegexp compares cards of 16 digits with the matches of a
// regular expression that pass the check digit.
func TestCardsLikeARegexp(t *testing.T) {
	s := scanner(t, Options{Recognizers: []string{"card"}})
	re := regexp.MustCompile(`(?:^|[ ,;])(4\d{15})(?:$|[ ,;])`)
	rnd := rand.New(rand.NewPCG(3, 9))
	total := 0
	for range 3000 {
		var b strings.Builder
		for range 6 {
			b.WriteString([]string{"x, ", "y; ", "z,"}[rnd.IntN(3)])
			d := make([]byte, []int{16, 16, 16, 15, 17, 8}[rnd.IntN(6)])
			for i := range d {
				d[i] = byte('0' + rnd.IntN(10))
			}
			d[0] = '4'
			b.Write(d)
			b.WriteString([]string{", ", ";", " x "}[rnd.IntN(3)])
		}
		text := b.String()
		var want []string
		for _, m := range re.FindAllStringSubmatchIndex(text, -1) {
			if luhn([]byte(text[m[2]:m[3]])) {
				want = append(want, "CARD:"+text[m[2]:m[3]])
			}
		}
		total += len(want)
		if got := found(s, text); !slices.Equal(got, want) {
			t.Fatalf("%q: got %q, want %q", text, got, want)
		}
	}
	if total == 0 {
		t.Error("no cards among the texts")
	}
}

func TestCard(t *testing.T) {
	checkFindings(t, []finding{
		{"4111111111111111 5555555555554444", []string{"CARD:4111111111111111", "CARD:5555555555554444"}},
		{"visa 4012888888881881, done", []string{"CARD:4012888888881881"}},
		{"4012 8888 8888 1881 exp 12/27 cvv 123", []string{"CARD:4012 8888 8888 1881"}},
		{"4012-8888-8888-1881.", []string{"CARD:4012-8888-8888-1881"}},
		{"amex 3782 822463 10005", []string{"CARD:3782 822463 10005"}},
		{"378282246310005", []string{"CARD:378282246310005"}},
		{"2223003122003222 and 6011000990139424", []string{"CARD:2223003122003222", "CARD:6011000990139424"}},
		{"credit card 30569309025904", []string{"CARD:30569309025904"}},
		{"card number 40 1288 8888 8818 81", []string{"CARD:40 1288 8888 8818 81"}},
		{`{"number":"4012888888881881"}`, []string{"CARD:4012888888881881"}},
		{"4012888888881881 4012888888881881", []string{"CARD:4012888888881881", "CARD:4012888888881881"}},
		// Nothing is found in these.
		{"4012888888881882", nil},                                        // check digit
		{"order 30569309025904 shipped", nil},                            // this length needs a word
		{"9012888888881889", nil},                                        // no such brand
		{"0.4012888888881881 and 14012888888881881", nil},                // a fraction, a longer number
		{"4012888888881881abc x4012888888881881 _4012888888881881", nil}, // parts of words
		{"1732292401123456 1732292401123 20261122183000", nil},           // times
		{"2005 2006 2007 2008 2009 2010 2011 2012", nil},                 // a row of years
		{"ISBN 978-3-16-148410-0", nil},
		{"row 4111 2222 3333 4444 4111 1111 1111 1111 4111 1111", nil}, // a table
		{"lifetime 2592000000000000", nil},
	})
}

func TestCardRules(t *testing.T) {
	usual := func(c *chain, i, _ int) bool { return usualCard(c.text, c.g[i]) }
	checkChainRules(t, []chainRule{
		{"usualCard", usual, "4012888888881881", "30569309025904"},
		{"usualCard in a path", usual, "id:4012888888881881", "id/4012888888881881"},
		{"usualCard that is round", usual, "2592000000100000", "2592000000000000"},
		{"usualCard of 15 digits", usual, "378282246310005", "178282246310005"},
		{"printed in fours", (*chain).printed, "4012 8888 8888 1881", "4012 8888-8888 1881"},
		{"printed 4-6-5", (*chain).printed, "3782 822463 10005", "3782 82246 310005"},
		{"printed 4-4-4-4-3", (*chain).printed, "4012 8888 8888 1881 123", "4012 8888 8888 1881 1234"},
	})
	alone := func(c *chain, i, _ int) bool { return c.outsideTable(i, 4) }
	checkChainRules(t, []chainRule{
		{"alone", alone, "4111 1111 1111 1111 exp", "4111 1111 1111 1111 4111"},
		{"alone beside letters", alone, "4111 1111 1111 1111 ab", "4111 1111 1111 1111 1a2b"},
	})
}
