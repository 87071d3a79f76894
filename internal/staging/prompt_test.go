// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"testing"

	"github.com/bauxite/caddy-kvaware/internal/routing"
)

func TestPromptKeys(t *testing.T) {
	first := Prompt{Chain: []uint64{1, 2}, Ends: []uint64{10}}
	second := Prompt{Chain: []uint64{1, 2, 3}, Ends: []uint64{10, 11}} // the next turn
	if first.whole() != second.key(second.Ends[0]) {
		t.Error("a next turn does not begin with the whole prompt before it")
	}
	if first.nextTurn() != second.beginning(2) {
		t.Error("a next turn does not share the blocks before it")
	}
	for _, blocks := range []int{-1, 0, 3} {
		if first.beginning(blocks) != first.whole() {
			t.Errorf("the first %d of 2 blocks are not the whole prompt", blocks)
		}
	}
	other := first
	other.Salt = "tenant"
	if other.whole() == first.whole() {
		t.Error("a salt makes no difference")
	}
	other = first
	other.Variant = 5
	if other.whole() == first.whole() {
		t.Error("a variant makes no difference")
	}
	if short := (Prompt{}); short.whole() != short.nextTurn() {
		t.Error("a prompt without blocks has two keys")
	}
}

func TestPromptStored(t *testing.T) {
	p := Prompt{Chain: []uint64{1, 2, 3}, Ends: []uint64{10}}
	sent := routing.Prediction{Longest: 2000, LongestBlocks: 2}
	if p.stored(sent) != p.beginning(2) {
		t.Error("the blocks that an upstream was sent are not the part to stage")
	}
	sent.Offload.Storage = 2001
	if p.stored(sent) != p.whole() {
		t.Error("LMCache holds more, and that is not the part to stage")
	}
}
