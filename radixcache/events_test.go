// SPDX-License-Identifier: Apache-2.0

package radixcache

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// storedChain is the event of a whole chain whose keys are its elements.
func storedChain(chain []uint64, tier Tier) StoredBlocks {
	return StoredBlocks{Root: true, Keys: chain, Blocks: chain, Weight: 16, Tier: tier}
}

// An event so long that others are let in between counts each copy once, and so
// does one that has to make room for itself.
func TestLongEventsCountOnce(t *testing.T) {
	for name, limit := range map[string]int64{"with room": 1 << 30, "at the ceiling": 2 << 20} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 9))
			tree := New(limit)
			other, up := tree.Register("other"), tree.Register("up")
			for range 200 {
				tree.Insert(other, distinct(r, 500), 16)
			}
			chain := distinct(r, 15_000)
			if !tree.Stored(up, storedChain(chain, GPU)) {
				t.Fatal("not stored")
			}
			rest := distinct(r, 8_000)
			if !tree.Stored(up, StoredBlocks{Parent: chain[len(chain)-1], Keys: rest, Blocks: rest, Weight: 16}) {
				t.Fatal("not stored behind a parent")
			}
			all := append(slices.Clone(chain), rest...)
			if got := tree.Lookup(all, nil); len(got) != 1 || got[0] != (Match{up, int32(len(all))}) {
				t.Fatalf("%v after it was stored", got)
			}
			if err := tree.validate(); err != nil {
				t.Fatal(err)
			}
			for i := range all { // one copy each: the first removal takes the block
				tree.Removed(up, all[len(all)-1-i:len(all)-i], GPU)
			}
			if got := tree.Lookup(all, nil); len(got) != 0 {
				t.Fatalf("%v after each block was removed once", got)
			}
			if err := tree.validate(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// When a key comes to name another block, the upstream loses the first one: no
// removal could reach it any more.
func TestRenamedBlockIsLost(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 9))
	tree := New(1 << 20)
	up, other := tree.Register("up"), tree.Register("other")
	a, b, keys := distinct(r, 100), distinct(r, 100), distinct(r, 100)
	tree.Stored(up, StoredBlocks{Root: true, Keys: keys, Blocks: a, Weight: 16})
	tree.Stored(other, StoredBlocks{Root: true, Keys: keys, Blocks: a, Weight: 16})
	tree.Stored(up, StoredBlocks{Root: true, Keys: keys[50:], Blocks: b[50:], Weight: 16})
	if got, want := sorted(tree.Lookup(a, nil)), []Match{{up, 50}, {other, 100}}; !slices.Equal(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
	if got, want := tree.Lookup(b[50:], nil), []Match{{up, 50}}; !slices.Equal(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
	tree.Removed(up, keys, GPU)
	if got, want := tree.Lookup(a, nil), []Match{{other, 100}}; !slices.Equal(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
	if tree.Copied(up, keys, CPU) != 0 || tree.Copied(other, keys, NumTiers) != 0 || tree.Copied(0, keys, CPU) != 0 {
		t.Fatal("copies of nothing were counted")
	}
	if err := tree.validate(); err != nil {
		t.Fatal(err)
	}
}

// An event that may repeat what is known counts only blocks that are not in its tier.
func TestRepeatedEventsAddNoCopy(t *testing.T) {
	chain := distinct(rand.New(rand.NewPCG(5, 9)), 200)
	tree := New(1 << 20)
	up := tree.Register("up")
	tree.Stored(up, storedChain(chain[:100], GPU))
	again := storedChain(chain, GPU)
	again.Repeated = true
	for range 300 {
		tree.Stored(up, again)
	}
	tree.Stored(up, StoredBlocks{Parent: chain[98], Keys: chain[99:100], Blocks: chain[99:100], Weight: 16})
	tree.Removed(up, chain[90:], GPU)
	if got, want := tree.Lookup(chain, nil), []Match{{up, 90}}; !slices.Equal(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
	tree.Stored(up, StoredBlocks{Root: true, Keys: chain[:99], Blocks: chain[:99], Weight: 16})
	if got, want := tree.Lookup(chain, nil), []Match{{up, 100}}; !slices.Equal(got, want) {
		t.Fatalf("%v, want %v: one of two copies is left", got, want)
	}
	if err := tree.validate(); err != nil {
		t.Fatal(err)
	}
}

// Evicted stays true until the upstream is forgotten. Removals, cuts and trims are
// no evictions.
func TestEvicted(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 9))
	tree := New(1 << 20)
	up, other := tree.Register("up"), tree.Register("other")
	chain := distinct(r, 300)
	tree.Stored(up, storedChain(chain, GPU))
	tree.Removed(up, chain[200:], GPU)
	tree.Cut(up, chain, 100)
	tree.Trim(up, 70*16)
	if tree.Evicted(up) || tree.Evicted(other) {
		t.Fatal("evicted, although there is room")
	}
	for range 1000 {
		tree.Insert(other, distinct(r, 300), 16)
	}
	if !tree.Evicted(up) || !tree.Evicted(other) {
		t.Fatal("nothing evicted, although there is no room")
	}
	tree.Forget(up)
	if tree.Evicted(up) || !tree.Evicted(other) {
		t.Fatal("a forgotten upstream counts as evicted, or the other does not")
	}
	tree.Unregister(other)
	if tree.Evicted(other) || tree.Evicted(0) || tree.Evicted(tree.Register("new")) {
		t.Fatal("an invalid or a new id counts as evicted")
	}
}
