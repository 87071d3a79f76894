// SPDX-License-Identifier: Apache-2.0

package counterparts

import (
	"slices"
	"strings"
	"testing"
)

// Applied in their order, the merges make one token of each word behind a space.
func TestMergesMakeWords(t *testing.T) {
	merges := train()
	for _, w := range words {
		text := append([]string{alphabet()[' ']}, strings.Split(w, "")...)
		for _, pair := range merges {
			text = merge(text, pair)
		}
		if len(text) != 1 || text[0] != "Ġ"+w {
			t.Errorf("%s is %q", w, text)
		}
	}
}

// Every byte has a token of its own, and no token comes twice.
func TestAlphabet(t *testing.T) {
	all := alphabet()
	for _, pair := range train() {
		all = append(all, pair[0]+pair[1])
	}
	distinct := slices.Compact(slices.Sorted(slices.Values(all)))
	if len(all) < 256 || len(distinct) != len(all) || all['a'] != "a" || all['\n'] != "Ċ" || all[0] != "Ā" {
		t.Errorf("%d tokens, %d of them distinct: %q", len(all), len(distinct), all[:256])
	}
}
