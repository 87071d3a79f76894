// SPDX-License-Identifier: Apache-2.0

package radixcache

import (
	"math/rand/v2"
	"testing"
)

func TestUnknownUpstreamsDoNothing(t *testing.T) {
	tree := New(1 << 20)
	up := tree.Register("a:1")
	if tree.Register("a:1") != up {
		t.Fatal("the same name got another id")
	}
	tree.Insert(up, chainOf("abc"), 1)
	tree.Remove(up)
	for _, id := range []Upstream{0, up, 99} {
		tree.Insert(id, chainOf("abc"), 1)
		tree.Cut(id, chainOf("abc"), 0)
		tree.Lose(id, chainOf("abc"), 0)
		tree.Stored(id, StoredBlocks{Root: true, Keys: []uint64{1}, Blocks: []uint64{1}})
		tree.Removed(id, []uint64{1}, GPU)
		tree.Trim(id, 0)
		tree.Forget(id)
		tree.Remove(id)
	}
	if got := tree.Lookup(chainOf("abc"), nil); len(got) != 0 {
		t.Fatalf("removed upstream still matches: %v", got)
	}
	if s := tree.Stats(); s.Blocks != 0 || s.Upstreams != 0 {
		t.Fatalf("left behind: %+v", s)
	}
	if again := tree.Register("a:1"); again == up || again == 0 {
		t.Fatalf("id %d was given out again at once", again)
	}
}

func TestConcurrentUse(t *testing.T) {
	tree := New(512 << 10)
	done := make(chan struct{})
	for g := range 4 {
		go func() {
			defer func() { done <- struct{}{} }()
			r := rand.New(rand.NewPCG(uint64(g), 3))
			for range 2000 {
				up := tree.Register(string(rune('a' + r.IntN(6))))
				chain := chainOf(randomPath(r, 30))
				switch r.IntN(8) {
				case 0:
					tree.Remove(up)
				case 1:
					tree.Cut(up, chain, r.IntN(len(chain)))
				case 2:
					tree.SetLimit(int64(r.IntN(1 << 20)))
				case 3:
					tree.Trim(up, 100)
				default:
					tree.Insert(up, chain, 16)
				}
				for _, m := range tree.Lookup(chain, nil) {
					if m.Blocks < 1 || int(m.Blocks) > len(chain) {
						t.Errorf("match of %d blocks in a chain of %d", m.Blocks, len(chain))
					}
				}
			}
		}()
	}
	for range 4 {
		<-done
	}
}
