// SPDX-License-Identifier: Apache-2.0

package radixcache

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
)

// answer is one lookup's match for an upstream while an operation for that upstream
// had let others in.
type answer struct {
	path   string
	blocks int
}

// Operations let others in after every few steps. There, operations of all kinds run
// for other upstreams. The tree must be in order each time. Lookups must be exact
// for all upstreams but that of the first operation. For that one they must say no
// more than was true before it or is after it.
func TestOthersBetweenAllSteps(t *testing.T) {
	skipWithRace(t)
	seeds := seedsOf(30)
	between := 0
	for seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 21))
		p := newPlayer(1<<30, 2+int(seed%4))
		p.tree.workBudget = 1 + int(seed%7)*3
		var busy Upstream // of the first operation, 0 while there is none
		var answers []answer
		var failed error
		p.tree.onYield = func() {
			if busy == 0 || failed != nil {
				return
			}
			between++
			up := busy
			busy = 0
			defer func() { busy = up }()
			for range r.IntN(3) {
				if other := p.ids[r.IntN(len(p.ids))]; other != up {
					failed = p.step(byte(r.IntN(16)), byte(r.IntN(256)), other, randomPath(r, 24))
				}
			}
			if r.IntN(3) == 0 && failed == nil {
				failed = p.tree.validateBetween()
			}
			path := randomPath(r, 30)
			got := map[Upstream]int{}
			for _, m := range p.tree.Lookup(chainOf(path), nil) {
				got[m.Upstream] = int(m.Blocks)
			}
			for _, id := range p.ids {
				if id == up {
					answers = append(answers, answer{path, got[id]})
				} else if want := p.m.held(id, path); got[id] != want && failed == nil {
					failed = fmt.Errorf("between: %d holds %d blocks of %s, lookup says %d", id, want, path, got[id])
				}
			}
		}
		for step := range 150 {
			op, arg := byte(r.IntN(16)), byte(r.IntN(256))
			up, path := p.ids[r.IntN(len(p.ids))], randomPath(r, 24)
			before := &model{ups: map[Upstream]map[string]*[NumTiers]int{up: maps.Clone(p.m.ups[up])}}
			busy, answers = up, answers[:0]
			err := p.step(op, arg, up, path)
			busy = 0
			if err == nil {
				err = failed
			}
			if err == nil {
				err = p.check(randomPath(r, 30))
			}
			for _, a := range answers {
				if most := max(before.held(up, a.path), p.m.held(up, a.path)); a.blocks > most && err == nil {
					err = fmt.Errorf("lookup said %d of %s, it was never more than %d", a.blocks, a.path, most)
				}
			}
			if err != nil {
				t.Fatalf("seed %d step %d op %d arg %d up %d %s: %v", seed, step, op, arg, up, path, err)
			}
		}
	}
	if between < int(seeds)*100 {
		t.Fatalf("others were let in only %d times", between)
	}
}

// The same with operations for the same upstream in between, under a limit that
// always evicts. The order of the operations is not known then. But the tree must be
// in order, and lookups must count no block that was never recorded.
func TestSameUpstreamBetweenAllSteps(t *testing.T) {
	skipWithRace(t)
	seeds := seedsOf(20)
	evicted := uint64(0)
	for seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 22))
		limit := int64(300+r.IntN(500)) << 10
		p := newPlayer(limit, 1+int(seed%4)*20)
		p.tree.workBudget = 1 + int(seed%5)*4
		depth, limiting := 0, false
		var failed error
		act := func() {
			up, path := p.ids[r.IntN(len(p.ids))], wildPath(r)
			chain := chainOf(path)
			p.m.insert(up, path) // everything that was ever recorded
			switch r.IntN(12) {
			default:
				p.tree.Insert(up, chain, 16)
			case 0, 1, 2:
				from := r.IntN(len(path))
				e := StoredBlocks{Root: from == 0, Keys: keysOf(up, path, from), Blocks: chain[from:], Weight: 16, Tier: GPU}
				if from > 0 {
					e.Parent = keysOf(up, path[:from], from-1)[0]
				}
				p.tree.Stored(up, e)
			case 3, 4:
				p.tree.Removed(up, keysOf(up, path, len(path)/2), GPU)
			case 5, 6:
				p.tree.DropBlock(up, chain, r.IntN(min(len(path), 8)))
			case 7:
				p.tree.Cut(up, chain, r.IntN(len(path)))
			case 8:
				if r.IntN(30) == 0 {
					p.tree.Forget(up)
				}
				p.tree.Trim(up, int64(r.IntN(100000)))
			case 9:
				if r.IntN(10) == 0 && !limiting {
					limiting = true // one at a time: the second would wait for the first
					p.tree.SetLimit(limit * int64(1+r.IntN(4)) / 4)
					limiting = false
				}
				p.tree.BlocksByTier(up, chain)
			}
		}
		p.tree.onYield = func() {
			if depth > 0 || failed != nil || r.IntN(8) > 0 {
				return
			}
			depth++
			act()
			depth--
			failed = p.tree.validateBetween()
		}
		for step := range 300 {
			act()
			if failed == nil {
				failed = p.tree.validate()
			}
			q := wildPath(r)
			for _, m := range p.tree.Lookup(chainOf(q), nil) {
				if most := p.m.held(m.Upstream, q); int(m.Blocks) > most && failed == nil {
					failed = fmt.Errorf("lookup says that %d holds %d blocks of %s, at most %d were recorded", m.Upstream, m.Blocks, q, most)
				}
			}
			if failed != nil {
				t.Fatalf("seed %d step %d: %v", seed, step, failed)
			}
		}
		evicted += p.tree.Stats().Evictions
	}
	if evicted < 5*seeds {
		t.Fatalf("only %d evictions: the limit is too high", evicted)
	}
}
