// SPDX-License-Identifier: Apache-2.0

package kvindex

import (
	"slices"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/internal/blockhash"
	"github.com/bauxite/caddy-kvaware/internal/engine/kvevents"
	"github.com/bauxite/caddy-kvaware/radixcache"
)

// chunksOf returns the event that stores a path in chunks of several letters in a tier,
// under other names than the engine's.
func chunksOf(path string, letters int, tier kvevents.Tier) *kvevents.Event {
	e := &kvevents.Event{Kind: kvevents.Stored, Tier: tier, Root: true, Tokens: tokensOf(path), BlockSize: letters * testBlock}
	for i := letters; i <= len(path); i += letters {
		e.Hashes = append(e.Hashes, nameOf("LMCache "+path[:i]))
	}
	return e
}

// chunkChain returns the index's hashes of a path, in blocks of a size.
func chunkChain(x *Index, path string, letters int) (chain []uint64) {
	parent := x.root("")
	for i := letters; i <= len(path); i += letters {
		parent = blockhash.Tokens(parent, 0, tokensOf(path[i-letters:i]))
		chain = append(chain, parent)
	}
	return chain
}

// LMCache's chunks are recorded beside the GPU's blocks, and a removal of one leaves
// the other alone.
func TestExternalChunks(t *testing.T) {
	tree := radixcache.New(4 << 20)
	x := New(tree, nil)
	x.SetLimit(4 << 20)
	x.Expire(time.Unix(1000, 0))
	f := x.Feed("engine")
	apply := func(e *kvevents.Event) {
		t.Helper()
		if !f.Apply(e) {
			t.Fatal("an event could not be used")
		}
	}
	want := func(gpu int32, memory, disk int32) {
		t.Helper()
		if tiers := tree.BlocksByTier(f.ID(), chunkChain(x, "abcdefgh", 1)); tiers != [kvevents.NumTiers]int32{gpu, 0, 0} {
			t.Errorf("blocks in the engine's tiers: %v, want %d on the GPU", tiers, gpu)
		}
		up, _ := f.External()
		if tiers := tree.BlocksByTier(up, chunkChain(x, "abcdefgh", 4)); tiers != [kvevents.NumTiers]int32{0, memory, disk} {
			t.Errorf("external chunks: %v, want %d and %d", tiers, memory, disk)
		}
	}
	e := &kvevents.Event{Kind: kvevents.Stored, Root: true, Tokens: tokensOf("abcdefgh"), BlockSize: testBlock}
	for i := range 8 {
		e.Hashes = append(e.Hashes, nameOf("abcdefgh"[:i+1]))
	}
	apply(e)
	if up, _ := f.External(); up != 0 {
		t.Error("there is an external cache")
	}
	memory, disk := chunksOf("abcdefgh", 4, kvevents.CPU), chunksOf("abcdefgh", 4, kvevents.Disk)
	apply(memory)
	if up, size := f.External(); up == 0 || size != 4*testBlock || f.BlockTokens() != testBlock || f.Tiered() {
		t.Errorf("upstream %d, chunks of %d tokens, blocks of %d, tiered: %v", up, size, f.BlockTokens(), f.Tiered())
	}
	want(8, 2, 0)
	apply(disk)
	want(8, 2, 0)
	apply(&kvevents.Event{Kind: kvevents.Removed, Hashes: slices.Clone(e.Hashes[4:])}) // from the GPU
	want(4, 2, 0)
	apply(&kvevents.Event{Kind: kvevents.Removed, Tier: kvevents.CPU, Hashes: memory.Hashes[1:]})
	want(4, 1, 1)
	apply(&kvevents.Event{Kind: kvevents.Removed, Tier: kvevents.CPU, Hashes: memory.Hashes[:1]})
	want(4, 0, 2)
	// No removal was ever published for the disk: its chunks expire.
	x.Expire(time.Unix(1000, 0).Add(TTL + time.Second))
	want(4, 0, 0)
	if f.Partial() {
		t.Error("the feed is partial")
	}
	// A later chunk continues after the known ones.
	apply(memory)
	more := chunksOf("abcdefghijkl", 4, kvevents.CPU)
	more.Root, more.Parent, more.Hashes, more.Tokens = false, memory.Hashes[1], []uint64{nameOf("more")}, more.Tokens[32:]
	apply(more)
	up, _ := f.External()
	if tiers := tree.BlocksByTier(up, chunkChain(x, "abcdefghijkl", 4)); tiers != [kvevents.NumTiers]int32{0, 3, 0} {
		t.Errorf("external chunks: %v", tiers)
	}
	more.Parent = nameOf("nobody")
	if f.Apply(more) || f.Stats().UnknownParents != 1 {
		t.Error("a chunk with an unknown parent was entered")
	}
	// The engine clears its own cache, not the external one.
	f.Apply(&kvevents.Event{Kind: kvevents.Cleared})
	want(0, 2, 0)
	apply(e)
	apply(disk) // it still has its time
	want(8, 2, 0)
	apply(&kvevents.Event{Kind: kvevents.Removed, Tier: kvevents.CPU, Hashes: memory.Hashes})
	want(8, 0, 2)
	x.Expire(time.Unix(1000, 0).Add(3 * TTL))
	want(8, 0, 0)
	f.Clear()
	if up, size := f.External(); up != 0 || size != 0 {
		t.Errorf("after all was cleared: upstream %d with chunks of %d tokens", up, size)
	}
	upstreams := tree.Stats().Upstreams
	apply(e)
	apply(memory)
	x.Drop(f)
	if n := tree.Stats().Upstreams; n != upstreams-1 {
		t.Errorf("%d upstreams are left of %d", n, upstreams)
	}
}
