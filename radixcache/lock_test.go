// SPDX-License-Identifier: Apache-2.0

package radixcache

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// The lock may be held beyond the work budget for one step that is not divided. Most
// steps are small, but splitting or joining a run takes all of its holders.
const (
	mostUndivided = 4096
	mostOfRun     = 8 * MaxUpstreams
)

// checkWork fails when an operation has held the lock for more than most work.
func (t *Tree) checkWork(most int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mostWork > most {
		return fmt.Errorf("the lock was held for %d units of work, %d are the most", t.mostWork, most)
	}
	return nil
}

// fanned makes a tree whose root run has many children, each the first of a chain of
// deep runs. It returns the upstream that holds all, and the root run's chain.
func fanned(children, deep int) (*Tree, Upstream, []uint64) {
	t := New(1 << 30)
	up := t.Register("a")
	r := rand.New(rand.NewPCG(31, 1))
	root := distinct(r, MaxRun)
	for range children {
		t.Insert(up, append(root[:MaxRun:MaxRun], distinct(r, 1+(deep-1)*MaxRun)...), 16)
	}
	return t, up, root
}

// crowded makes a tree in which many upstreams hold the same chain, with keys or
// without.
func crowded(holders, blocks int, keys bool) (*Tree, []Upstream, []uint64) {
	t := New(1 << 30)
	chain := distinct(rand.New(rand.NewPCG(32, 1)), blocks)
	var ups []Upstream
	for i := range holders {
		ups = append(ups, t.Register(fmt.Sprint(i)))
		if keys {
			t.Stored(ups[i], StoredBlocks{Root: true, Keys: chain, Blocks: chain, Weight: 16})
		} else {
			t.Insert(ups[i], chain, 16)
		}
	}
	return t, ups, chain
}

// worst are shapes that are hard on one step each. build makes a tree and a function
// that runs the operations. The function leaves the tree as it was, and calls let
// between operations. most is the most work between two yields.
var worst = []struct {
	name  string
	most  int
	slow  bool
	build func() (*Tree, func(let func()))
}{
	{"lose and regain a block with 10000 children", defaultWorkBudget + mostUndivided, false, func() (*Tree, func(func())) {
		t, up, root := fanned(10000, 1)
		return t, func(let func()) { t.DropBlock(up, root, 3); let(); t.Insert(up, root, 16) }
	}},
	{"lose and regain a block under 100000 claims", defaultWorkBudget + mostUndivided, true, func() (*Tree, func(func())) {
		t, up, root := fanned(4000, 25)
		return t, func(let func()) { t.DropBlock(up, root, 3); let(); t.Insert(up, root, 16) }
	}},
	{"lose a chain of 2000 runs from the front", defaultWorkBudget + mostUndivided, true, func() (*Tree, func(func())) {
		t := New(1 << 30)
		up := t.Register("a")
		chain := distinct(rand.New(rand.NewPCG(33, 1)), 2000*MaxRun)
		return t, func(let func()) {
			t.Stored(up, StoredBlocks{Root: true, Keys: chain, Blocks: chain, Weight: 16})
			let()
			t.Removed(up, chain, GPU)
		}
	}},
	{"a known chain of 4000 blocks among 4096 holders", defaultWorkBudget + mostUndivided, true, func() (*Tree, func(func())) {
		t, ups, chain := crowded(MaxUpstreams, 4000, false)
		return t, func(let func()) { t.Insert(ups[9], chain, 16); let(); t.BlocksByTier(ups[9], chain) }
	}},
	{"forget among 4096 holders", defaultWorkBudget + mostUndivided, false, func() (*Tree, func(func())) {
		t, ups, chain := crowded(MaxUpstreams, 20*MaxRun, false)
		return t, func(let func()) { t.Forget(ups[9]); let(); t.Insert(ups[9], chain, 16) }
	}},
	{"a full tree with a run of 10000 children to move", defaultWorkBudget + 2*maxReferrers, false, func() (*Tree, func(func())) {
		t, up, root := fanned(10000, 1)
		r := rand.New(rand.NewPCG(34, 1))
		for range 30000 {
			t.Insert(up, distinct(r, 1+r.IntN(40)), 16)
		}
		t.Insert(up, root, 16)
		return t, func(let func()) {
			t.SetLimit(t.Stats().Bytes * 95 / 100)
			let()
			for i := range 3000 {
				t.Insert(up, distinct(r, 1+r.IntN(300)), 16)
				let()
				if i%100 == 0 {
					t.Insert(up, root, 16)
					let()
				}
			}
		}
	}},
	{"split and join under 4096 holders", defaultWorkBudget + mostOfRun, false, func() (*Tree, func(func())) {
		t, ups, chain := crowded(MaxUpstreams, 3*MaxRun, false)
		other := append(append([]uint64{}, chain[:100]...), 1)
		return t, func(let func()) { t.Insert(ups[0], other, 16); let(); t.Cut(ups[0], other, 100) }
	}},
	{"split and join under 100 holders with keys", defaultWorkBudget + 100*4*MaxRun, false, func() (*Tree, func(func())) {
		t, ups, chain := crowded(100, 2*MaxRun, true)
		other := append(append([]uint64{}, chain[:100]...), 1)
		return t, func(let func()) { t.Insert(ups[0], other, 16); let(); t.Cut(ups[0], other, 100) }
	}},
}

func TestNoLongLock(t *testing.T) {
	skipWithRace(t)
	for _, w := range worst {
		t.Run(w.name, func(t *testing.T) {
			if w.slow && testing.Short() {
				t.Skip("slow")
			}
			tree, do := w.build()
			if err := tree.checkWork(defaultWorkBudget + mostUndivided); err != nil {
				t.Fatalf("while it was built: %v", err)
			}
			do(func() {})
			do(func() {})
			if err := tree.checkWork(w.most); err != nil {
				t.Fatal(err)
			}
			if tree.mostWork < defaultWorkBudget/2 {
				t.Fatalf("the most work was %d units: this shape is not hard", tree.mostWork)
			}
			if err := tree.validate(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
