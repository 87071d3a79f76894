// SPDX-License-Identifier: Apache-2.0

package radixcache

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

func TestUnknownUpstreamsDoNothing(t *testing.T) {
	tree := New(1 << 20)
	up := tree.Register("a:1")
	if tree.Register("a:1") != up {
		t.Fatal("the same name got another id")
	}
	tree.Insert(up, chainOf("abc"), 1)
	tree.Unregister(up)
	for _, id := range []Upstream{0, up, 99} {
		tree.Insert(id, chainOf("abc"), 1)
		tree.Cut(id, chainOf("abc"), 0)
		tree.DropBlock(id, chainOf("abc"), 0)
		tree.Stored(id, StoredBlocks{Root: true, Keys: []uint64{1}, Blocks: []uint64{1}})
		tree.Removed(id, []uint64{1}, GPU)
		tree.Trim(id, 0)
		tree.Forget(id)
		tree.Unregister(id)
	}
	if got := tree.Lookup(chainOf("abc"), nil); len(got) != 0 {
		t.Fatalf("a removed upstream still matches: %v", got)
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
					tree.Unregister(up)
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

// fixedClock makes a tree's clock stand at a time that the test sets.
func fixedClock(tree *Tree) *time.Duration {
	now := new(time.Duration)
	tree.clock = func() time.Duration { return *now }
	return now
}

// One upstream that is busy with a prefix must not keep another's old claim on
// the same prefix alive.
func TestOldestClaimIsEvictedFirst(t *testing.T) {
	tree := New(1 << 20)
	now := fixedClock(tree)
	r := rand.New(rand.NewPCG(1, 1))
	shared := distinct(r, 50)
	stale, busy := tree.Register("stale"), tree.Register("busy")
	tree.Insert(stale, shared, 16)
	*now = time.Minute
	if got := tree.Stats().Oldest; got.Round(time.Second) != time.Minute {
		t.Fatalf("oldest claim is %v old, want a minute", got)
	}
	for i := 0; tree.Stats().Evictions == 0; i++ {
		*now += time.Second
		tree.Insert(busy, shared, 16)
		tree.Insert(busy, distinct(r, 100), 16)
	}
	if got := tree.Lookup(shared, nil); len(got) != 1 || got[0] != (Match{busy, 50}) {
		t.Fatalf("first eviction left %v, want busy's claim only", got)
	}
}

func TestTrimLeavesTheYoungest(t *testing.T) {
	tree := New(1 << 20)
	up := tree.Register("a")
	r := rand.New(rand.NewPCG(2, 1))
	root := distinct(r, 30)
	var chains [][]uint64
	for range 10 {
		chains = append(chains, append(root[:30:30], distinct(r, 20)...))
	}
	for _, c := range chains {
		tree.Insert(up, c, 16)
	}
	tree.Insert(up, chains[0], 16) // young again
	tree.Trim(up, 75*16)           // the root and two tails
	for i, c := range chains {
		want := int32(30)
		if i == 0 || i == 9 {
			want = 50
		}
		if got := tree.Lookup(c, nil); len(got) != 1 || got[0].Blocks != want {
			t.Errorf("chain %d: %v, want %d blocks", i, got, want)
		}
	}
}

// A tree that never joined the runs it has split would grow without bound.
func TestRunsAreJoinedAgain(t *testing.T) {
	tree := New(1 << 20)
	up := tree.Register("a")
	r := rand.New(rand.NewPCG(3, 1))
	chain := distinct(r, 64)
	tree.Insert(up, chain, 16)
	for range 1000 {
		at := 1 + r.IntN(58) // five blocks more stay before the next multiple of MaxRun
		other := append(append([]uint64{}, chain[:at]...), distinct(r, 5)...)
		tree.Insert(up, other, 16)
		if got := tree.Stats().Runs; got != 3 {
			t.Fatalf("%d runs with a branch at %d, want 3", got, at)
		}
		tree.Cut(up, other, at)
		if got := tree.Stats(); got.Runs != 1 || got.Blocks != 64 {
			t.Fatalf("%d runs, %d blocks without the branch, want 1 and 64", got.Runs, got.Blocks)
		}
	}
	if err := tree.validate(); err != nil {
		t.Fatal(err)
	}
}

func TestLoweredLimitKeepsTheYoungest(t *testing.T) {
	tree := New(20 << 20)
	r := rand.New(rand.NewPCG(4, 1))
	var last []uint64
	for i := range 20000 {
		up := tree.Register(fmt.Sprint(i % 50))
		last = distinct(r, 1+r.IntN(150))
		tree.Insert(up, last, 16)
	}
	blocks := tree.Stats().Blocks
	tree.SetLimit(2 << 20)
	s := tree.Stats()
	if s.Bytes > 2<<20 || s.Blocks < blocks/20 {
		t.Fatalf("%d bytes and %d of %d blocks after lowering to a tenth", s.Bytes, s.Blocks, blocks)
	}
	if got := tree.Lookup(last, nil); len(got) != 1 || int(got[0].Blocks) != len(last) {
		t.Fatalf("the youngest chain is gone: %v", got)
	}
	if err := tree.validate(); err != nil {
		t.Fatal(err)
	}
}

func TestMaxUpstreams(t *testing.T) {
	tree := New(16 << 20)
	chain := distinct(rand.New(rand.NewPCG(5, 1)), 100)
	ids := map[Upstream]bool{}
	for i := range MaxUpstreams {
		up := tree.Register(fmt.Sprint("node-", i))
		if up == 0 || ids[up] {
			t.Fatalf("upstream %d got id %d", i, up)
		}
		ids[up] = true
		tree.Insert(up, chain[:1+i%100], 16)
	}
	if up := tree.Register("one too many"); up != 0 {
		t.Fatalf("got id %d", up)
	}
	if err := tree.validate(); err != nil {
		t.Fatal(err)
	}
	got := tree.Lookup(chain, nil)
	if len(got) != MaxUpstreams {
		t.Fatalf("%d matches for %d upstreams", len(got), MaxUpstreams)
	}
	for _, m := range got {
		if i := int(m.Upstream)&(1<<slotBits-1) - 1; int(m.Blocks) != 1+i%100 {
			t.Fatalf("upstream %d: %d blocks, want %d", i, m.Blocks, 1+i%100)
		}
	}
	for up := range ids {
		tree.Unregister(up)
	}
	if s := tree.Stats(); s.Blocks != 0 || s.Claims != 0 || s.Upstreams != 0 {
		t.Fatalf("left behind: %+v", s)
	}
}

func TestOperationsAllocateNothing(t *testing.T) {
	tree := New(4 << 20)
	r := rand.New(rand.NewPCG(6, 1))
	chains := make([][]uint64, 200)
	up := tree.Register("a")
	for i := range chains {
		chains[i] = distinct(r, 300)
		tree.Insert(up, chains[i], 16)
	}
	dst := make([]Match, 0, 8)
	i := 0
	if n := testing.AllocsPerRun(500, func() {
		dst = tree.Lookup(chains[i%len(chains)], dst[:0])
		tree.Insert(up, chains[i%len(chains)], 16)
		tree.Cut(up, chains[i%len(chains)], 150)
		i++
	}); n != 0 {
		t.Fatalf("%v allocations a round", n)
	}
}

// Chains whose elements do not commit to those before them may get wrong answers,
// but must do no harm.
func TestInvalidChains(t *testing.T) {
	tree := New(1 << 20)
	ups := []Upstream{tree.Register("a"), tree.Register("b")}
	r := rand.New(rand.NewPCG(7, 1))
	for step := range 5000 {
		chain := make([]uint64, 1+r.IntN(150))
		for i := range chain {
			chain[i] = uint64(r.IntN(3)) << (32 * r.IntN(2))
		}
		switch up := ups[r.IntN(2)]; r.IntN(4) {
		case 0:
			tree.Cut(up, chain, r.IntN(len(chain)))
		case 1:
			tree.DropBlock(up, chain, r.IntN(len(chain)))
		default:
			tree.Insert(up, chain, 16)
		}
		for _, m := range tree.Lookup(chain, nil) {
			if int(m.Blocks) > len(chain) {
				t.Fatalf("step %d: %v of %d blocks", step, m, len(chain))
			}
		}
		if step%500 == 0 {
			if err := tree.validate(); err != nil {
				t.Fatalf("step %d: %v", step, err)
			}
		}
	}
}

// An empty claim stays while it has child claims. It goes with the last one, together
// with its run, all the way up.
func TestEmptyClaimsGoWithTheirChildren(t *testing.T) {
	for _, others := range []int{0, 3} {
		tree := New(1 << 20)
		up := tree.Register("a")
		chain := distinct(rand.New(rand.NewPCG(8, uint64(others))), 5*MaxRun+7)
		tree.Insert(up, chain, 16)
		for i := range others {
			tree.Insert(tree.Register(fmt.Sprint(i)), chain[:2*MaxRun], 16)
		}
		for i := range 5 * MaxRun {
			tree.DropBlock(up, chain, i)
		}
		if err := tree.validate(); err != nil {
			t.Fatal(err)
		}
		tree.Cut(up, chain, 5*MaxRun)
		if err := tree.validate(); err != nil {
			t.Fatal(err)
		}
		want := 0
		if others > 0 {
			want = 2 * MaxRun
		}
		if s := tree.Stats(); s.Blocks != want || s.Runs != want/MaxRun || s.Claims != others*want/MaxRun {
			t.Fatalf("beside %d others: %+v, want %d blocks", others, s, want)
		}
	}
}
