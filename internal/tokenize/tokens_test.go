// SPDX-License-Identifier: Apache-2.0

package tokenize

import (
	"slices"
	"strings"
	"testing"
)

// Nothing is left of ids and texts, nor in outgrown buffers.
func TestWipe(t *testing.T) {
	ids := appendWiping([]uint32(nil), 1, 2, 3)
	for len(ids) < cap(ids) {
		ids = append(ids, 9)
	}
	outgrown := ids
	ids = appendWiping(ids, 4)
	if slices.Max(outgrown) != 0 || ids[0] != 1 || ids[len(ids)-1] != 4 {
		t.Error("the outgrown buffer still has its ids")
	}
	got, err := readAnswer(strings.NewReader(`{"tokens":[1,2],"token_strs":["▁a","b"]}`), endpointTokenize, false, testLimits)
	if err != nil {
		t.Fatal(err)
	}
	if n := got.Footprint(); n < 20 || n > 5000 {
		t.Errorf("footprint %d", n)
	}
	all, arena := got.IDs[:cap(got.IDs)], got.texts[:cap(got.texts)]
	got.Wipe()
	if slices.Max(all) != 0 || slices.Max(arena) != 0 || got.IDs != nil || got.HasTexts() || got.Text(0) != nil {
		t.Error("something is left")
	}
}
