// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math/rand/v2"
	"testing"
	"time"
)

func blocksOf(ids ...uint64) []uint64 {
	chain, h := make([]uint64, len(ids)), uint64(0)
	for i, id := range ids {
		h = hashPair(h, id)
		chain[i] = h
	}
	return chain
}

func jobOf(tokens int, ids ...uint64) *job {
	return &job{Request: &Request{Tokens: tokens, Output: 2, Chain: blocksOf(ids...)}, costFactor: 1}
}

func testWorld(nodes int) *simulation {
	s := &Setup{Nodes: nodes, Model: DefaultModel(), Speed: 1, KVAware: DefaultKnowledge()}
	return newSimulation(&Trace{BlockTokens: 100}, s, &policySpec{make: newRoundRobin})
}

func TestDynamoCost(t *testing.T) {
	for _, c := range []struct {
		prefill, overlap, decode int
		want                     float64
	}{{1000, 0, 0, 10}, {1000, 4, 7, 13}, {1000, 12, 3, 3}, {150, 0, 1, 2.5}} {
		if got := dynamoCost(c.prefill, 100, c.overlap, c.decode); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestDynamoCountsSharedBlocksOnce(t *testing.T) {
	w := testWorld(2)
	p := newDynamo(w).(*dynamo)
	first := jobOf(300, 1, 2, 3)
	first.node = p.pick(first, 0)
	// The first node has 3 blocks to prefill and 3 in use, of which 2 are shared;
	// the other node would prefill and hold 2 of its own.
	if second := jobOf(200, 1, 2); p.pick(second, 0) == first.node {
		t.Error("a node with prefill under way was taken over an idle one")
	}
	p.first(first, 0)
	p.done(first, 0)
	if p.prefill[first.node] != 0 || len(p.inUse[first.node]) != 0 {
		t.Errorf("left over: %v %v", p.prefill, p.inUse)
	}
}

func TestLLMDScore(t *testing.T) {
	for _, c := range []struct {
		prefix, usage             float64
		queued, shortest, longest int
		want                      float64
	}{{1, 0, 0, 0, 0, 4}, {0, 0.25, 3, 1, 5, 1.25}, {0.5, 1, 5, 1, 5, 1}} {
		if got := llmdScore(c.prefix, c.usage, c.queued, c.shortest, c.longest); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestCacheAwareSwitches(t *testing.T) {
	w := testWorld(3)
	p := newCacheAware(w).(*cacheAware)
	p.trees[1].add(blocksOf(1, 2, 3, 4))
	for _, c := range []struct {
		name     string
		inFlight []int
		job      *job
		want     int
	}{
		{"over the threshold", []int{0, 9, 1}, jobOf(1000, 1, 2, 3, 4), 1},
		{"not over it", []int{1, 9, 0}, jobOf(1000, 1, 2, 3, 9), 2},
		{"imbalanced in both ways", []int{0, 65, 1}, jobOf(1000, 1, 2, 3, 4), 0},
		{"imbalanced, but not by half", []int{200, 265, 201}, jobOf(1000, 1, 2, 3, 4), 1},
	} {
		copy(w.inFlight, c.inFlight)
		if got := p.chooseNode(c.job); got != c.want {
			t.Errorf("%s: node %d, want %d", c.name, got, c.want)
		}
	}
}

func TestCHWBLWalksOnWhenFull(t *testing.T) {
	w := testWorld(4)
	p := newCHWBL(w).(*chwbl)
	j := jobOf(100, 1)
	j.Affinity = 42
	home := p.pick(j, 0)
	if p.pick(j, 0) != home {
		t.Fatal("not consistent")
	}
	w.inFlight[home] = 1 // 1 <= 1.25 * 2/4 is false
	if next := p.pick(j, 0); next == home {
		t.Error("over the bound, and taken again")
	}
	for i := range w.inFlight {
		w.inFlight[i] = 9 // 9 <= 1.25 * 37/4
	}
	if p.pick(j, 0) != home {
		t.Error("all equal: the key's own node is not over the bound")
	}
	moved, keys := 0, 4000
	smaller := newCHWBL(testWorld(3)).(*chwbl)
	clear(w.inFlight)
	for k := range keys {
		j.Affinity = uint64(k)
		if a, b := p.pick(j, 0), smaller.pick(j, 0); a != 3 && a != b {
			moved++
		}
	}
	if moved > 0 {
		t.Errorf("%d of %d keys moved between nodes that stayed", moved, keys)
	}
}

func TestPrefixAwareAndSession(t *testing.T) {
	w := testWorld(4)
	w.rnd = rand.New(rand.NewPCG(1, 1))
	p := newPrefixAware(w)
	first := p.pick(jobOf(300, 1, 2, 3), 0)
	for range 20 {
		if p.pick(jobOf(300, 1, 2, 9), 0) != first {
			t.Fatal("the longest match was not taken")
		}
	}
	s := newSession(w)
	seen := map[int]bool{}
	for k := range uint64(50) {
		j := jobOf(100)
		j.Session = k
		node := s.pick(j, 0)
		if s.pick(j, 0) != node {
			t.Fatal("a session moved")
		}
		seen[node] = true
	}
	if len(seen) != 4 {
		t.Errorf("50 sessions on %d of 4 nodes", len(seen))
	}
}

func TestExactKnowsTheFuture(t *testing.T) {
	w := testWorld(2)
	p := newExact(w)
	long := jobOf(10000, 1, 2, 3, 4, 5, 6, 7, 8)
	long.node = p.pick(long, 0)
	w.engines[long.node].add(long)
	// The node has half a second of prefill left, and 800 of 9,000 tokens will be cached.
	if got := p.pick(jobOf(9000, 1, 2, 3, 4, 5, 6, 7, 8), 800*time.Millisecond); got == long.node {
		t.Error("waited for a prefix that saves less than the wait")
	}
	w.engines[long.node].advance(1250 * time.Millisecond)
	if got := p.pick(jobOf(900, 1, 2, 3, 4, 5, 6, 7, 8, 9), 1250*time.Millisecond); got != long.node {
		t.Error("the idle node that holds the prefix was not taken")
	}
}

func TestEveryPolicyServesEveryRequest(t *testing.T) {
	trace := randomTrace(rand.New(rand.NewPCG(3, 3)), 600, 64)
	names, _ := Policies()
	for _, chunk := range []int{0, 256} {
		s := &Setup{Nodes: 5, Model: DefaultModel(), Speed: 2, Seed: 7, KVAware: DefaultKnowledge()}
		s.Model.PrefillRates, s.Model.KVTokens, s.Model.Chunk = []float64{1000, 2000}, 64*100, chunk
		s.Model.Noise = 0.3
		for _, name := range names {
			a, err := Run(trace, s, name)
			if err != nil {
				t.Fatal(name, err)
			}
			b, _ := Run(trace, s, name)
			if a.Requests != 600 || a.TTFT != b.TTFT || a.HitRate != b.HitRate || a.TPOT != b.TPOT {
				t.Errorf("%s: not all served, or not twice the same: %+v %+v", name, a, b)
			}
			if a.TTFT.Mean <= 0 || a.TTFT.P50 > a.TTFT.P90 || a.TTFT.P90 > a.TTFT.P99 || a.HitRate <= 0 || a.HitRate >= 1 || a.Busiest < 1 || a.Busiest > 5 || a.TPOT < s.Model.DecodeStep {
				t.Errorf("%s: impossible figures %+v", name, a)
			}
		}
	}
}
