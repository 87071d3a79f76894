// SPDX-License-Identifier: Apache-2.0

package radixcache

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cespare/xxhash/v2"
)

// model is the slow and obvious reference: for each upstream the set of paths
// it holds, a path being written out as the string of its block letters.
type model struct {
	ups map[Upstream]map[string]bool
}

func (m *model) insert(up Upstream, path string) (held int) {
	set := m.ups[up]
	for i := 1; i <= len(path); i++ {
		if set[path[:i]] && held == i-1 {
			held = i
		}
	}
	for i := 1; i <= len(path); i++ {
		set[path[:i]] = true
	}
	return held
}

func (m *model) cut(up Upstream, path string, keep int) {
	keep = max(keep, 0)
	if keep >= len(path) {
		return
	}
	gone := path[:keep+1]
	for p := range m.ups[up] {
		if len(p) >= len(gone) && p[:len(gone)] == gone {
			delete(m.ups[up], p)
		}
	}
}

func (m *model) lookup(path string) []Match {
	var out []Match
	for up, set := range m.ups {
		n := 0
		for n < len(path) && set[path[:n+1]] {
			n++
		}
		if n > 0 {
			out = append(out, Match{up, int32(n)})
		}
	}
	return sorted(out)
}

func (m *model) blocks() int {
	all := map[string]bool{}
	for _, set := range m.ups {
		for p := range set {
			all[p] = true
		}
	}
	return len(all)
}

func sorted(ms []Match) []Match {
	slices.SortFunc(ms, func(a, b Match) int { return int(a.Upstream) - int(b.Upstream) })
	return ms
}

// chainOf hashes a path the way callers do: each element commits to all before it.
func chainOf(path string) []uint64 {
	out := make([]uint64, len(path))
	for i := range path {
		out[i] = xxhash.Sum64String(path[:i+1])
	}
	return out
}

// randomPath draws from few letters so that prefixes collide all the time.
func randomPath(r *rand.Rand, longest int) string {
	if r.IntN(4) == 0 {
		longest *= 8 // over several runs
	}
	b := make([]byte, 1+r.IntN(longest))
	for i := range b {
		b[i] = "aaab"[r.IntN(4)]
	}
	return string(b)
}

func TestAgainstModel(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		tree := New(1 << 30)
		m := &model{ups: map[Upstream]map[string]bool{}}
		var ids []Upstream
		for _, name := range []string{"a:1", "b:1", "c:1", "d:1"} {
			id := tree.Register(name)
			ids = append(ids, id)
			m.ups[id] = map[string]bool{}
		}
		for step := range 300 {
			up, path := ids[r.IntN(len(ids))], randomPath(r, 24)
			switch x := r.IntN(20); {
			case x < 10:
				want := m.insert(up, path)
				if got := tree.Insert(up, chainOf(path), 16); got != want {
					t.Fatalf("seed %d step %d: insert %d %s held %d, want %d", seed, step, up, path, got, want)
				}
			case x < 14:
				keep := r.IntN(len(path) + 1)
				m.cut(up, path, keep)
				tree.Cut(up, chainOf(path), keep)
			case x == 14 && r.IntN(10) == 0:
				m.ups[up] = map[string]bool{}
				tree.Forget(up)
			case x == 15:
				tokens := int64(r.IntN(40)) * 16
				tree.Trim(up, tokens)
				// Which claims went is the tree's choice; what is left must be a prefix-closed part.
				kept := map[string]bool{}
				for p := range m.ups[up] {
					for _, mt := range tree.Lookup(chainOf(p), nil) {
						if mt.Upstream == up && int(mt.Blocks) == len(p) {
							kept[p] = true
						}
					}
				}
				if int64(len(kept))*16 > tokens {
					t.Fatalf("seed %d step %d: trim to %d left %d blocks", seed, step, tokens, len(kept))
				}
				m.ups[up] = kept
			}
			q := randomPath(r, 30)
			if got, want := sorted(tree.Lookup(chainOf(q), nil)), m.lookup(q); !slices.Equal(got, want) {
				t.Fatalf("seed %d step %d: lookup %s: %v, want %v", seed, step, q, got, want)
			}
			if err := tree.validate(); err != nil {
				t.Fatalf("seed %d step %d: %v", seed, step, err)
			}
			if got, want := tree.Stats().Blocks, m.blocks(); got != want {
				t.Fatalf("seed %d step %d: %d blocks, want %d", seed, step, got, want)
			}
		}
	}
}

func TestLimitEvictsOldestFirst(t *testing.T) {
	tree := New(256 << 10)
	up := tree.Register("a:1")
	r := rand.New(rand.NewPCG(7, 7))
	var last []uint64
	for range 5000 {
		last = make([]uint64, 40)
		for i := range last {
			last[i] = r.Uint64()
		}
		tree.Insert(up, last, 16)
		if s := tree.Stats(); s.Bytes > s.Limit {
			t.Fatalf("%d bytes over the limit of %d", s.Bytes, s.Limit)
		}
	}
	if got := tree.Lookup(last, nil); len(got) != 1 || got[0].Blocks != 40 {
		t.Fatalf("the youngest chain is gone: %v", got)
	}
	if tree.Stats().Evictions == 0 {
		t.Fatal("nothing was evicted")
	}
	tree.SetLimit(0)
	if s := tree.Stats(); s.Blocks != 0 {
		t.Fatalf("%d blocks left under a limit of 0", s.Blocks)
	}
}

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
