// SPDX-License-Identifier: Apache-2.0

package kvevents

import "testing"

func TestExtraOf(t *testing.T) {
	if ExtraOf() != 0 || ExtraOf(nil) != 0 || SaltExtra("") != 0 {
		t.Error("the Extra of no parts is not 0")
	}
	if SaltExtra("s") != ExtraOf("s") || ExtraOf(nil, "s") != ExtraOf("s") {
		t.Error("SaltExtra differs from ExtraOf")
	}
	seen := map[uint64][]any{0: nil}
	for _, parts := range [][]any{
		{"s"}, {"t"}, {"s", "t"}, {"st"}, {"t", "s"}, {[]byte("s")}, {""}, {1}, {[]any{"s", 1}}, {"s", 1}, {[]any{"s"}, 1}, {[]any{"s", 2}},
		{[]any{"s", 1}, []any{"t", 1}}, {[]any{[]any{"s", 1}, "t"}, 1},
	} {
		x := ExtraOf(parts...)
		if other, twice := seen[x]; twice {
			t.Errorf("%v and %v have the same Extra", parts, other)
		}
		seen[x] = parts
	}
}

// TestExtraKeys: the Extra of a decoded block is ExtraOf its keys, without the
// event's own adapter in front.
func TestExtraKeys(t *testing.T) {
	for _, c := range []struct {
		lora any
		keys any
		want uint64
	}{
		{nil, nil, 0},
		{nil, []any{}, 0},
		{"fr", []any{"fr"}, 0},
		{"fr", []any{"fr", "fr"}, SaltExtra("fr")},
		{"fr", []any{"salt"}, SaltExtra("salt")},
		{nil, []any{"fr"}, SaltExtra("fr")},
		{"fr", []any{"fr", []any{"id", 3}, []any{"id2", -7}, "salt"}, ExtraOf([]any{"id", 3}, []any{"id2", -7}, "salt")},
		{nil, []any{[]byte("digest"), nil}, ExtraOf([]byte("digest"))},
	} {
		e, err := one(pairs{"type", "BlockStored", "block_hashes", []any{1, 2}, "lora_name", c.lora, "extra_keys", []any{c.keys, []any{"x"}}})
		if err != nil || len(e.Extra) != 2 || e.Extra[0] != c.want || e.Extra[1] != SaltExtra("x") {
			t.Errorf("%v: %v, %v, want %d", c.keys, e.Extra, err, c.want)
		}
	}
	// Kinds that no engine uses in its keys count as well.
	seen := map[uint64]any{0: nil}
	for _, part := range []any{1.5, 2.5, true, false, pairs{"a", 1}, pairs{"a", 2}, encoded{0xd4, 1, 2}, encoded{0xd4, 1, 3}} {
		e, err := one(pairs{"type", "BlockStored", "block_hashes", []any{1}, "extra_keys", []any{[]any{part}}})
		if err != nil || len(e.Extra) != 1 {
			t.Fatalf("%v: %+v, %v", part, e, err)
		}
		if other, twice := seen[e.Extra[0]]; twice {
			t.Errorf("%v and %v are the same", part, other)
		}
		seen[e.Extra[0]] = part
	}
}
