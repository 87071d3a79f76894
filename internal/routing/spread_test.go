// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// sendOneByOne routes prompts that share a system prompt, each when the one
// before is done, and returns the tokens that each upstream had to compute.
func sendOneByOne(rt *Router, c *clock, candidates []Candidate, n int) (computed map[string]int) {
	rnd := rand.New(rand.NewPCG(1, 4))
	system := make([]uint64, 64) // 4,096 tokens
	for i := range system {
		system[i] = rnd.Uint64()
	}
	computed = make(map[string]int)
	for range n {
		chain := append(append([]uint64(nil), system...), rnd.Uint64(), rnd.Uint64())
		r := rt.NewRequest(Prompt{Chain: chain, Tokens: len(chain)*64 + 300, BlockTokens: 64, Stream: true})
		d := r.Route(candidates, false)
		computed[candidates[d.Pick].Address] += r.Tokens() - d.Cached
		c.add(time.Duration(r.Tokens()-d.Cached) * startCost)
		r.Confirm()
		r.FirstToken()
		c.add(time.Second)
		r.End()
	}
	return computed
}

func TestASharedPrefixDoesNotDrawAllToOneUpstream(t *testing.T) {
	rt, c := newTestRouter()
	var candidates []Candidate
	for i := range 8 {
		candidates = append(candidates, Candidate{Address: fmt.Sprint("node-", i)})
	}
	computed := sendOneByOne(rt, c, candidates, 3000)
	sum, most := 0, 0
	for _, n := range computed {
		sum, most = sum+n, max(most, n)
	}
	if len(computed) < 8 || most*8 > sum*2 {
		t.Errorf("%d upstreams, the busiest computed %.1f times the mean", len(computed), float64(most*8)/float64(sum))
	}
	// 428 tokens a prompt, and a copy of the prefix on each: no more than that.
	if limit := 3000*428 + 8*(4096+64); sum > limit {
		t.Errorf("%d tokens computed, more than %d: copies were made again and again", sum, limit)
	}
}

func TestNoCopyWhereFailuresAreExpected(t *testing.T) {
	c := []scoredCandidate{
		{PerToken: startCost, Uncached: 300, Footprint: 100_000},
		{PerToken: startCost, Uncached: 4000, Footprint: 10, Penalty: ms(10)},
		{PerToken: startCost, Uncached: 4000, Footprint: 20},
	}
	if instead, buyCost := spread(c, 0, contention{}); instead != 2 || buyCost <= 0 {
		t.Errorf("instead of 0: %d for %v", instead, buyCost)
	}
}

// answer is a request whose tokens all come at one time.
type answer struct {
	r  *Request
	at time.Time
}

// deliver ends the requests whose answers have come, in that order, each at its
// time, and returns the others.
func deliver(c *clock, open []answer) (left []answer) {
	now := c.t
	slices.SortFunc(open, func(a, b answer) int { return a.at.Compare(b.at) })
	for _, o := range open {
		if o.at.After(now) {
			left = append(left, o)
			continue
		}
		c.t = o.at
		o.r.Confirm()
		o.r.FirstToken()
		o.r.End()
	}
	c.t = now
	return left
}

// A prefix that is requested more often than one upstream can serve is computed once
// on each upstream that is needed, and not again and again.
func TestAHotPrefixSpreadsWithoutFlapping(t *testing.T) {
	rt, c := newTestRouter()
	rnd := rand.New(rand.NewPCG(3, 4))
	const nodes, hot, own = 4, 125 * 64, 8 * 64
	var candidates []Candidate
	servers := make([]*server, nodes)
	for i := range servers {
		candidates = append(candidates, Candidate{Address: fmt.Sprint("node-", i)})
		servers[i] = &server{perToken: startCost, noise: 0.2}
	}
	prefix := make([]uint64, hot/64)
	for i := range prefix {
		prefix[i] = rnd.Uint64()
	}
	var open []answer
	copies, waited := 0, time.Duration(0)
	for range 3000 { // 25 a second: the load of 1.6 upstreams that have the prefix
		c.add(time.Duration(rnd.ExpFloat64() * float64(40*time.Millisecond)))
		open = deliver(c, open)
		chain := append([]uint64(nil), prefix...)
		for range own / 64 {
			chain = append(chain, rnd.Uint64())
		}
		r := rt.NewRequest(Prompt{Chain: chain, Tokens: hot + own, BlockTokens: 64, Stream: true})
		d := r.Route(candidates, false)
		if d.Cached == 0 {
			copies++
		}
		at := servers[d.Pick].finish(c.t, r.Tokens()-d.Cached, rnd)
		waited += at.Sub(c.t)
		open = append(open, answer{r, at})
	}
	if copies < 2 || copies > nodes {
		t.Errorf("the prefix was computed %d times on %d upstreams", copies, nodes)
	}
	if mean := waited / 3000; mean > ms(200) {
		t.Errorf("mean time to first token %v, alone it is 64 ms", mean)
	}
}

func TestALongConversationStays(t *testing.T) {
	rt, c := newTestRouter()
	candidates := []Candidate{{Address: "one"}, {Address: "two"}}
	rnd := rand.New(rand.NewPCG(1, 4))
	chain := make([]uint64, 800) // 51,200 tokens
	for i := range chain {
		chain[i] = rnd.Uint64()
	}
	moves, last := 0, 0
	for i := range 200 {
		chain = append(chain, rnd.Uint64(), rnd.Uint64(), rnd.Uint64())
		r := rt.NewRequest(Prompt{Chain: append([]uint64(nil), chain...), Tokens: len(chain) * 64, BlockTokens: 64, Stream: true})
		d := r.Route(candidates, false)
		if i > 0 && d.Pick != last {
			moves++
		}
		last = d.Pick
		c.add(time.Duration(r.Tokens()-d.Cached) * startCost)
		r.Confirm()
		r.FirstToken()
		r.End()
		c.add(5 * time.Second)
	}
	if moves > 0 {
		t.Errorf("a conversation of its own moved %d times", moves)
	}
}
