// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// triggers make a recognizer begin its work or read the surroundings: first
// bytes of formats, words of context, characters that fold, signs that join.
var triggers = []string{
	"1", "12 ", "123-", "1.", "1:", "::", "12/", "(415) ", "+1 ", "00", "2001:", "0x", "4111 ", "4012888888881881", "1980-03-12 ", "12 March 1980 ",
	"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAee ", "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN3 ",
	"bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5 ", "GB82 WEST ", "GB82", "AB 12 34 56 C ", "12345678Z ", "RSSMRA80A01H501U ",
	"a@", "@", "a@b.co ", "a.", "a.com", "%40", `"`, `"a b"@`, "://a:b@", "http://", "git@",
	"password=", "password: ", `key:"`, "api_key=a8Fk29dKq01L", "Authorization: Bearer ", "-u a:", "</password>", "<token>", "aB3", "=", ":", "https", "</",
	"sk-", "gh" + "p_", "AK" + "IA", "xox" + "b-", "eyJ", "eyJhbGciOiJIUzI1NiJ9.", "Q~", "AA", ":AA", "JQQJ", ".atlasv1.", "A|", "-us1",
	"-----BEGIN RSA PRIVATE KEY-----", "-----BEGIN ", "-----END ", "-----", "-", "AAAAAAAAAAAAAAAAAAAAAAAA",
	"ab:", "00:1a:", "0012.3456.789a ", "0a-", "abcd.", "550e8400-e29b-",
	"phone ", "call ", "card ", "wallet ", "passport ", "driver license ", "born ", "nhs ", "version ", "iban ", "medicare identity sa ",
	" ", "\n", "\t", ",", ";", "'", `\`, "/", "_", "~", "[", "]", "[A_1]", "{", "$", "#", "x", "A", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	"１", "ａ", "＠", "：", "＝", "\u200b", "\u00a0", "\u00ad", "٤", "𝟒", "–", "é", "家", "\xff", "\xe2\x80", "。", "。com",
}

// slowness is a repeated text and its rate.
type slowness struct {
	text string
	rate float64 // MB per second of processor time
}

// measure returns the rate of the scanner on a text of size bytes that repeats
// unit, the best of three when the first is slow.
func measure(s *Scanner, unit string, size int) slowness {
	if len(unit) == 0 {
		return slowness{unit, 1e9}
	}
	text := repeated(unit)(size)
	best := 0.0
	var dst []Span
	for range 3 {
		start := cpuTime()
		dst = s.Scan(text, dst[:0])
		rate := float64(len(text)) / 1e6 / max(1e-9, (cpuTime()-start).Seconds())
		best = max(best, rate)
		if best > 200 {
			break
		}
	}
	return slowness{unit, best}
}

// pairs measures every pair of triggers, repeated.
func pairs(s *Scanner) []slowness {
	var all []slowness
	for _, one := range triggers {
		for _, two := range triggers {
			all = append(all, measure(s, one+two, 64<<10))
		}
		slowest(&all)
	}
	return all
}

// BenchmarkPairs searches for texts that make the scanner slow: every pair of
// triggers, repeated. It lists the slowest (go test -run none -bench Pairs
// -benchtime 1x ./janitor/pii); those belong among the hostile texts of
// BenchmarkScan.
func BenchmarkPairs(b *testing.B) {
	s := scanner(b, Options{})
	var all []slowness
	for b.Loop() {
		all = pairs(s)
	}
	report(b, s, all)
}

// BenchmarkMutants goes on from the slowest pairs: it lengthens, shortens and
// changes them, and keeps the slower ones.
func BenchmarkMutants(b *testing.B) {
	s := scanner(b, Options{})
	var all []slowness
	for b.Loop() {
		all = pairs(s)
		rnd := rand.New(rand.NewPCG(1, 1))
		for range 3000 {
			unit := all[rnd.IntN(min(len(all), 40))].text
			piece := triggers[rnd.IntN(len(triggers))]
			at := rnd.IntN(len(unit) + 1)
			switch rnd.IntN(4) {
			case 0:
				unit += piece
			case 1:
				unit = piece + unit
			case 2:
				unit = unit[:at] + piece + unit[at:]
			case 3:
				unit = unit[:at] + unit[min(len(unit), at+1+rnd.IntN(8)):]
			}
			if len(unit) < 400 {
				all = append(all, measure(s, unit, 64<<10))
			}
			if len(all) > 400 {
				slowest(&all)
			}
		}
		slowest(&all)
	}
	report(b, s, all)
}

// report lists the slowest texts, measured once more and longer.
func report(b *testing.B, s *Scanner, all []slowness) {
	var list strings.Builder
	for k := range all[:min(len(all), 50)] {
		all[k] = measure(s, all[k].text, 256<<10)
	}
	slowest(&all)
	for _, w := range all[:min(len(all), 50)] {
		fmt.Fprintf(&list, "%7.1f MB/cpu-s %q\n", w.rate, w.text)
	}
	fmt.Print(list.String()) // the log of a benchmark is cut
	b.ReportMetric(all[0].rate, "MB/cpu-s")
}

// slowest sorts the texts, the slowest first, and keeps the first 200.
func slowest(all *[]slowness) {
	slices.SortFunc(*all, func(a, b slowness) int {
		return cmp.Or(cmp.Compare(a.rate, b.rate), strings.Compare(a.text, b.text))
	})
	*all = slices.CompactFunc(*all, func(a, b slowness) bool { return a.text == b.text })
	*all = (*all)[:min(len(*all), 200)]
}
