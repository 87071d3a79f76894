// SPDX-License-Identifier: Apache-2.0

package radixcache

import (
	"math/rand/v2"
	"testing"
)

// The blocks behind a chain are those that a longer chain with the only continuation
// would match, whatever the runs are.
func TestHeldBeyond(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		tree := New(4 << 20)
		up, other := tree.Register("a"), tree.Register("b")
		chain := make([]uint64, 1+rnd.IntN(300))
		for i := range chain {
			chain[i] = rnd.Uint64()
		}
		at := 1 + rnd.IntN(len(chain))
		tree.Insert(up, chain, 16)
		tree.Insert(other, chain[:at], 16) // splits a run, which must not matter
		held := len(chain)
		if rnd.IntN(2) == 0 {
			lost := rnd.IntN(len(chain))
			tree.DropBlock(up, chain, lost)
			held = lost
		}
		most := rnd.IntN(400)
		want := min(most, held-at)
		if got := tree.HeldBeyond(up, chain[:at], most); got != max(0, want) {
			t.Fatalf("seed %d: %d blocks behind %d of %d, %d held: want %d", seed, got, at, len(chain), held, max(0, want))
		}
		if got := tree.HeldBeyond(other, chain[:at], most); got != 0 {
			t.Fatalf("seed %d: the other holds %d blocks behind its last", seed, got)
		}
		if got := tree.HeldBeyond(up, append(chain[:at-1:at-1], 7), most); got != 0 {
			t.Fatalf("seed %d: %d blocks behind a chain it does not hold", seed, got)
		}
	}
}

// Where an upstream holds two continuations, neither counts.
func TestHeldBeyondStopsAtBranches(t *testing.T) {
	tree := New(1 << 20)
	up := tree.Register("a")
	chain := []uint64{1, 2, 3, 4, 5, 6}
	tree.Insert(up, chain, 16)
	tree.Insert(up, []uint64{1, 2, 3, 4, 7, 8}, 16)
	if got := tree.HeldBeyond(up, chain[:2], 10); got != 2 {
		t.Errorf("%d blocks up to the branch, want 2", got)
	}
	if got := tree.HeldBeyond(up, chain[:4], 10); got != 0 {
		t.Errorf("%d blocks behind the branch, want 0", got)
	}
	if got := tree.HeldBeyond(up, nil, 10); got != 0 {
		t.Errorf("%d blocks behind no chain", got)
	}
	if got := tree.HeldBeyond(tree.Register("b"), chain, 10); got != 0 {
		t.Errorf("%d blocks of an upstream that holds nothing", got)
	}
}
