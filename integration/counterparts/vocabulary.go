// SPDX-License-Identifier: Apache-2.0

package counterparts

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
)

// words makes up the model's vocabulary: each word is one token.
var words = strings.Fields(`the of and to in is that for it as with was on are by this be from or had an they which one were
	their has will each about many then them these some her would make like into time two more write see number way could people
	than first water been call who its now find long down day did get come made may part over new sound take only little work
	know place year live back give most very after thing our just name good sentence man think say great where help through much
	before line right too mean old any same tell boy follow came want show also around form three small set put end does another`)

// Text returns a random text of so many words, about a token each.
func Text(rnd *rand.Rand, n int) string {
	var b strings.Builder
	for range n {
		b.WriteByte(' ')
		b.WriteString(words[rnd.IntN(len(words))])
	}
	return b.String()[1:]
}

// alphabet returns the tokens of single bytes, in GPT-2's notation: a byte that is no
// printable character of Latin-1 is written as a letter above it.
func alphabet() (all []string) {
	next := rune(256)
	for b := range rune(256) {
		if b >= '!' && b <= '~' || b >= 0xa1 && b != 0xad {
			all = append(all, string(b))
		} else {
			all = append(all, string(next))
			next++
		}
	}
	return all
}

// train returns the merges of byte-pair encoding that make one token of each word
// behind a space, most frequent pairs first.
func train() (merges [][2]string) {
	space := alphabet()[' ']
	texts := make([][]string, len(words))
	for i, w := range words {
		texts[i] = append([]string{space}, strings.Split(w, "")...)
	}
	for {
		pairs := make(map[[2]string]int)
		for _, text := range texts {
			for i := range len(text) - 1 {
				pairs[[2]string{text[i], text[i+1]}]++
			}
		}
		if len(pairs) == 0 {
			return merges
		}
		best := slices.MaxFunc(slices.Collect(maps.Keys(pairs)), func(a, b [2]string) int {
			return cmp.Or(cmp.Compare(pairs[a], pairs[b]), cmp.Compare(b[0]+" "+b[1], a[0]+" "+a[1]))
		})
		merges = append(merges, best)
		for i := range texts {
			texts[i] = merge(texts[i], best)
		}
	}
}

func merge(text []string, pair [2]string) (merged []string) {
	for i := 0; i < len(text); i++ {
		if i+1 < len(text) && text[i] == pair[0] && text[i+1] == pair[1] {
			merged = append(merged, text[i]+text[i+1])
			i++
		} else {
			merged = append(merged, text[i])
		}
	}
	return merged
}
