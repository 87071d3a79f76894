// SPDX-License-Identifier: Apache-2.0

package kvindex

import (
	"testing"

	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
)

// heldBlocks returns the number of blocks of a path that the feed has.
func (f *feeder) heldBlocks(path string) int {
	for _, m := range f.tree.Lookup(f.chain(path), nil) {
		if m.Upstream == f.f.ID() {
			return int(m.Blocks)
		}
	}
	return 0
}

func (f *feeder) chain(path string) []uint64 {
	return f.x.Chain(f.x.Space(TokenKey{BlockTokens: testBlock}), tokensOf(path[1:]), nil)
}

func (f *feeder) want(t *testing.T, path string, want int) {
	t.Helper()
	if got := f.heldBlocks(path); got != want {
		t.Fatalf("%d blocks of %s, want %d", got, path, want)
	}
}

func (f *feeder) remove(path string) {
	f.f.Apply(&kvevents.Event{Kind: kvevents.Removed, Hashes: []uint64{nameOf(path)}})
}

// What an engine did not hold goes, unless it has been stored again since.
func TestContradictionDropsWhatIsNotThere(t *testing.T) {
	f := newFeeder(64 << 20)
	f.f.Apply(event("-abcdefgh", 0, kvevents.GPU))
	f.f.Contradict(f.chain("-abcdefgh"), 3, f.f.Stores())
	f.want(t, "-abcdefgh", 3)
	f.f.Apply(event("-abcdefgh", 3, kvevents.GPU)) // late
	f.want(t, "-abcdefgh", 8)
	if n := f.f.Stats().Contradicted; n != 5 || f.f.Partial() {
		t.Errorf("%d blocks were contradicted, partial is %v", n, f.f.Partial())
	}
	f.f.Contradict(f.chain("-abcdefgh"), 9, f.f.Stores())
	f.f.Contradict(f.chain("-xyz"), 0, f.f.Stores())
	f.want(t, "-abcdefgh", 8)
}

// What was computed since has one copy, however many were counted before.
func TestContradictionLeavesOneCopy(t *testing.T) {
	f := newFeeder(64 << 20)
	f.f.Apply(event("-abcd", 0, kvevents.GPU))
	for range 5 {
		f.f.Apply(event("-abcd", 1, kvevents.GPU))
	}
	before := f.f.Stores()
	f.f.Apply(event("-abz", 0, kvevents.GPU))
	f.f.Apply(event("-abcd", 2, kvevents.GPU)) // the rest of the prompt, in a second step
	f.f.Contradict(f.chain("-abcd"), 0, before)
	f.want(t, "-abcd", 4)
	f.remove("-abcd")
	f.want(t, "-abcd", 3)
	f.remove("-ab")
	f.want(t, "-abcd", 1)
}

// Behind more events than are remembered, nothing is dropped.
func TestContradictionAfterManyEvents(t *testing.T) {
	f := newFeeder(64 << 20)
	f.f.Apply(event("-abcd", 0, kvevents.GPU))
	f.f.Apply(event("-abcd", 1, kvevents.GPU))
	before := f.f.Stores()
	for range storeLogSize + 1 {
		f.f.Apply(event("-abcd", 0, kvevents.GPU))
	}
	f.f.Contradict(f.chain("-abcd"), 1, before)
	f.want(t, "-abcd", 4)
	f.remove("-abcd")
	f.want(t, "-abcd", 3)
}

// Blocks in other tiers are not the GPU's, so an answer says nothing about those there.
func TestNothingIsContradictedBesideOtherTiers(t *testing.T) {
	f := newFeeder(64 << 20)
	f.f.Apply(event("-abcd", 0, kvevents.GPU))
	f.f.Apply(event("-abcd", 0, kvevents.CPU))
	f.f.Contradict(f.chain("-abcd"), 1, f.f.Stores())
	f.want(t, "-abcd", 4)
	f.x.Drop(f.f)
	f.f.Contradict(f.chain("-abcd"), 0, 0)
}
