// SPDX-License-Identifier: Apache-2.0

package pii

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestSettleJoinsOverlaps checks the rule on spans directly: no byte is lost,
// the longer one gives the label, and order does not matter.
func TestSettleJoinsOverlaps(t *testing.T) {
	s := scanner(t, Options{})
	text := []byte("0123456789abcdefghij")
	want := []Span{{0, 8, EntitySecret}, {10, 12, EntityPhone}}
	in := []Span{{0, 6, EntitySecret}, {4, 8, EntityPhone}, {10, 12, EntityPhone}, {0, 6, EntityPhone}}
	rnd := rand.New(rand.NewPCG(8, 8))
	for range 50 {
		rnd.Shuffle(len(in), func(i, j int) { in[i], in[j] = in[j], in[i] })
		if got := s.settle(text, slices.Clone(in), 0); !slices.Equal(got, want) {
			t.Fatalf("%v: got %v", in, got)
		}
	}
}

// TestSortSpansLikeSort compares sortSpans with the general algorithm on
// findings in rows, in rows with a few out of place, and in no order.
func TestSortSpansLikeSort(t *testing.T) {
	rnd := rand.New(rand.NewPCG(6, 6))
	rounds := 3000
	if testing.Short() {
		rounds = 300
	}
	for round := range rounds {
		var spans []Span
		for range rnd.IntN(14) {
			at := 0
			for range rnd.IntN(60) {
				at += rnd.IntN(9)
				start := at
				switch {
				case round%3 == 1 && rnd.IntN(4) == 0:
					start = max(0, at-rnd.IntN(100))
				case round%3 == 2:
					start = rnd.IntN(500)
				}
				spans = append(spans, Span{start, start + 1 + rnd.IntN(4), []Entity{EntityCard, EntityPhone, EntityIP, EntityMAC}[rnd.IntN(4)]})
			}
		}
		want := slices.Clone(spans)
		slices.SortFunc(want, order)
		sortSpans(spans)
		if !slices.Equal(spans, want) {
			t.Fatalf("round %d: %v, want %v", round, spans, want)
		}
	}
}
