// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"math/rand/v2"
	"testing"
	"time"
)

// engineCache is a cache whose true size the estimate is to approach.
type engineCache struct {
	lru
	size int // blocks
}

// held returns the number of blocks of the chain that are cached, then uses them.
func (e *engineCache) held(chain []uint64) (n int) {
	gone := false
	for _, d := range e.use(chain) {
		if gone = gone || d < 0 || d >= e.size; !gone {
			n++
		}
	}
	e.blocks = e.blocks[max(0, len(e.blocks)-e.size):] // the others are evicted
	return n
}

func TestCapacityIsFoundFromAnswers(t *testing.T) {
	const perBlock, size = 64, 600
	for _, given := range []int64{0, perBlock * size / 2, perBlock * size, perBlock * size * 2} {
		rnd := rand.New(rand.NewPCG(uint64(given), 4))
		engine := engineCache{size: size}
		var c capacity
		var u reuseSampler
		c.setInitial(given)
		sessions := make([][]uint64, 60)
		for range 1500 {
			// The lower the number, the more often: some are in, some are out.
			s := &sessions[rnd.IntN(1+rnd.IntN(len(sessions)))]
			if len(*s) > 40 {
				*s = nil
			}
			known := len(*s)
			for range 1 + rnd.IntN(8) {
				*s = append(*s, rnd.Uint64())
			}
			depths := u.use(*s, perBlock, c.estimate, nil)
			held := engine.held(*s)
			c.filled += int64((len(*s) - held) * perBlock)
			if known > 0 {
				c.learn(depths, held, perBlock)
			}
		}
		if low, high := int64(perBlock*size*7/10), int64(perBlock*size*3/2); c.estimate < low || c.estimate > high || c.treeLimit() != c.estimate {
			t.Errorf("initial capacity %d: estimate %d, want between %d and %d", given, c.estimate, low, high)
		}
	}
}

// An engine that evicts nothing keeps the capacity that it reports, although it never
// has all that the chains say: its blocks are larger, the last one of a prompt is not
// whole, an answer is other tokens when it comes back, and text is denser in places.
func TestAReportedCapacityIsAFloor(t *testing.T) {
	const perBlock, engineBlock, reported = 64, 128, 524_288
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 6))
		var c capacity
		var u reuseSampler
		c.setInitial(reported)
		type session struct {
			chain  []uint64
			weight []int // tokens in each block
		}
		sessions := make([]session, 40)
		for range 2000 {
			s := &sessions[rnd.IntN(len(sessions))]
			if len(s.chain) > 150 {
				*s = session{}
			}
			known := 0 // tokens of the prompt that the engine has
			for _, w := range s.weight {
				known += w
			}
			for range 2 + rnd.IntN(20) {
				s.chain, s.weight = append(s.chain, rnd.Uint64()), append(s.weight, 30+rnd.IntN(60))
			}
			all := 0
			for _, w := range s.weight {
				all += w
			}
			if rnd.IntN(3) == 0 {
				known -= min(known, rnd.IntN(300)) // an answer
			}
			cached := known / engineBlock * engineBlock * len(s.chain) / all
			c.learn(u.use(s.chain, perBlock, c.estimate, nil), cached, perBlock)
		}
		if c.estimate != reported || c.bounded {
			t.Errorf("seed %d: an engine that reports %d tokens is taken for one with %d, bounded is %v", seed, reported, c.estimate, c.bounded)
		}
	}
}

// Blocks that are gone refute what an engine reports when there are enough of them,
// and none used longer ago is there.
func TestDoubtsAboutAReportedCapacity(t *testing.T) {
	var c capacity
	c.setInitial(1_000_000)
	gone := func(n int) {
		for range n {
			c.learn([]depth{{block: 9, tokens: 100_000}}, 0, 64)
		}
	}
	gone(doubtAfter - 1)
	c.learn([]depth{{block: 9, tokens: 150_000}}, 20, 64)
	gone(doubtAfter - 1)
	if c.estimate != 1_000_000 || c.bounded {
		t.Fatalf("refuted doubts lower the estimate to %d", c.estimate)
	}
	gone(20)
	if c.estimate > 200_000 || !c.bounded {
		t.Errorf("after many misses the estimate is %d", c.estimate)
	}
}

// Running requests keep their blocks, so of a cache that has room for a few prompts
// less is left for others than it reports. Where most of a prompt is gone, two are
// enough to doubt; a single one, or little of each, is not.
func TestLostPromptsDoubtAReportedCapacity(t *testing.T) {
	const perBlock, reported = 64, 150_000
	for _, test := range []struct {
		name        string
		prompts     int
		end, cached int // blocks
		lowered     bool
	}{
		{"half of two prompts", 2, 600, 300, true},
		{"half of one prompt", 1, 600, 300, false},
		{"a tenth of two prompts, as where text is denser", 2, 600, 540, false},
		{"half of two short prompts, as an answer that comes back as other tokens", 2, 24, 12, false},
	} {
		var c capacity
		c.setInitial(reported)
		for range test.prompts {
			last := int32(test.end)
			c.learn([]depth{{block: 3, tokens: 60_000, end: last}, {block: last - 5, tokens: 60_000, end: last}}, test.cached, perBlock)
		}
		if (c.estimate < reported) != test.lowered {
			t.Errorf("%s: estimate %d", test.name, c.estimate)
		}
	}
}

func TestOneWrongAnswerDoesNotEmptyTheTree(t *testing.T) {
	c := capacity{filled: 1_000_000}
	c.learn([]depth{{block: 3, tokens: 10}}, 0, 64)
	if c.estimate < 400_000 {
		t.Errorf("one answer lowered the estimate to %d", c.estimate)
	}
	c = capacity{}
	c.setInitial(1_000_000)
	c.learn([]depth{{block: 3, tokens: 800_000}}, 9, 64) // cached, although used long ago
	c.learn([]depth{{block: 3, tokens: 1000}}, 0, 64)    // so this cannot be the cache's size
	if c.estimate != 1_000_000 {
		t.Errorf("an implausible answer lowered the estimate to %d", c.estimate)
	}
}

func TestAnUnboundedCapacityIsNotTrimmedTo(t *testing.T) {
	var c capacity
	c.setInitial(1000)
	if c.treeLimit() != 1000 {
		t.Errorf("without answers the limit is %d", c.treeLimit())
	}
	c.learn([]depth{{block: 0, tokens: 500}}, 1, 64)
	if c.treeLimit() != 2000 {
		t.Errorf("before a block was seen gone the limit is %d", c.treeLimit())
	}
	c.learn([]depth{{block: 0, tokens: 1500}}, 0, 64)
	if c.treeLimit() != 1000 || c.estimate != 1000 {
		t.Errorf("after a block used longer ago than the capacity was gone: limit %d, estimate %d", c.treeLimit(), c.estimate)
	}
	c.setInitial(1000) // the same again, as every scrape does
	if !c.bounded {
		t.Error("the same initial capacity again drops what was learned")
	}
}

func TestARestartIsNoticed(t *testing.T) {
	rt, c := newTestRouter()
	texts := []string{"abcd", "efgh", "ijkl", "mnop", "qrst"}
	send := func(text string, cached int) {
		r := rt.newTestRequest(text)
		r.Route(a("n"), false)
		r.Confirm()
		r.FirstToken()
		r.Reported(r.Tokens(), cached)
		r.End()
		c.add(time.Second)
	}
	for _, text := range texts {
		send(text, 0)
	}
	send("abcd", 256)
	wantHolds(t, rt, "n", "qrst", 4)
	for _, text := range texts[:restartAfter] {
		send(text, 0)
	}
	wantHolds(t, rt, "n", "qrst", 0)
}

func TestEnginesThatNeverReportTeachNothing(t *testing.T) {
	rt, c := newTestRouter()
	for range 10 {
		r := rt.newTestRequest("abcd")
		r.Route(a("n"), false)
		r.Confirm()
		r.Reported(r.Tokens(), 0)
		r.Reported(-1, 5)
		r.Reported(10, 11)
		r.End()
		c.add(time.Second)
	}
	wantHolds(t, rt, "n", "abcd", 4)
	if u := rt.Upstreams()[0]; u.Capacity != 0 {
		t.Errorf("capacity %d from nothing", u.Capacity)
	}
}

func TestTheTreeIsTrimmedToTheCapacity(t *testing.T) {
	rt, c := newTestRouter()
	rt.SetCapacity("n", 640) // ten blocks
	for _, text := range []string{"abcd", "efgh", "ijkl", "mnop"} {
		r := rt.newTestRequest(text)
		r.Route(a("n"), false)
		r.Confirm()
		r.End()
		c.add(time.Second)
	}
	wantHolds(t, rt, "n", "abcd", 0)
	wantHolds(t, rt, "n", "mnop", 4)
	r := rt.newTestRequest("abcd")
	r.evaluate(a("n"))
	if known := rt.scratch.scored[0].Unsent; known != 1 {
		t.Errorf("%d tokens count as never sent there, want 1", known)
	}
}
