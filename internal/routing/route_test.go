// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestRoute(t *testing.T) {
	rt, _ := newTestRouter()
	two := []Candidate{{Address: "one"}, {Address: "two"}}
	r := rt.newTestRequest("abcdefgh")
	if d := r.Route(two, false); d != (Decision{Pick: 0, Cached: 0, Reason: Cold}) {
		t.Fatalf("cold: %+v", d)
	}
	r.Confirm()
	r.FirstToken()
	r.End()

	again := rt.newTestRequest("abcdefghij")
	if d := again.Route(two, false); d != (Decision{Pick: 0, Cached: 8 * 64, Reason: Hit}) {
		t.Fatalf("hit: %+v", d)
	}
	again.End()

	// The holder is busy for longer than computing it all again takes.
	busy := rt.NewRequest(Prompt{Chain: chainOf("zzzz"), Tokens: 10_000, BlockTokens: 64, Stream: true})
	busy.Route(two[:1], false)
	moved := rt.newTestRequest("abcdefgh")
	if d := moved.Route(two, false); d != (Decision{Pick: 1, Cached: 0, Reason: Load}) {
		t.Fatalf("load: %+v", d)
	}
	if d := rt.newTestRequest("abc").Route(nil, false); d.Pick != -1 {
		t.Fatalf("no targets: %+v", d)
	}
}

func TestColdPromptsCanBeLeftToAnotherPolicy(t *testing.T) {
	rt, _ := newTestRouter()
	r := rt.newTestRequest("abc")
	if d := r.Route(a("one"), true); d != (Decision{Pick: -1, Reason: Fallback}) {
		t.Fatalf("cold: %+v", d)
	}
	if len(rt.upstreams["one"].pending) != 0 {
		t.Fatal("something was reserved for a decision that was left open")
	}
	if d := r.Assign(Candidate{Address: "two"}); d != (Decision{Reason: Fallback}) {
		t.Fatalf("assigned: %+v", d)
	}
	r.Confirm()
	if d := rt.newTestRequest("abcd").Route(a("two"), true); d.Reason != Hit || d.Cached != 3*64 {
		t.Fatalf("what another policy picked is not remembered: %+v", d)
	}
}

func TestTheLastTokenIsNeverCached(t *testing.T) {
	rt, _ := newTestRouter()
	prompt := Prompt{Chain: chainOf("abcd"), Tokens: 256, BlockTokens: 64}
	rt.NewRequest(prompt).Route(a("n"), false)
	if d := rt.NewRequest(prompt).Route(a("n"), false); d.Cached != 255 {
		t.Fatalf("%d of 256 tokens cached", d.Cached)
	}
}

func TestRequestsOfOthersCountAsLoad(t *testing.T) {
	rt, _ := newTestRouter()
	d := rt.newTestRequest("ab").Route([]Candidate{{Address: "one", Requests: 3}, {Address: "two"}}, false)
	if d.Pick != 1 {
		t.Fatalf("picked %d: Caddy counts three requests there", d.Pick)
	}
}

func TestForgetAndSweep(t *testing.T) {
	rt, c := newTestRouter()
	r := rt.newTestRequest("abcd")
	r.Route(a("one"), false)
	r.Confirm()
	if rt.Forget("two") || !rt.Forget("one") {
		t.Fatal("Forget knows the wrong upstreams")
	}
	wantHolds(t, rt, "one", "abcd", 0)
	c.add(2 * upstreamTTL)
	if gone := rt.Sweep(); len(gone) != 0 {
		t.Fatalf("an upstream with a request in flight was forgotten: %v", gone)
	}
	r.End()
	rt.newTestRequest("ab").Route(a("two"), false)
	if gone := rt.Sweep(); len(gone) != 1 || gone[0] != "one" || len(rt.Upstreams()) != 1 {
		t.Fatalf("swept %v, left %v", gone, rt.Upstreams())
	}
}

// A new upstream must not be sent every cold prompt until it has caught up.
func TestNewcomersStartLevel(t *testing.T) {
	rt, _ := newTestRouter()
	for i := range 6 {
		r := rt.newTestRequest(fmt.Sprint("prompt", i))
		r.Route(a("old"), false)
		r.Confirm()
		r.End()
	}
	r := rt.newTestRequest("x")
	r.Route(a("new"), false)
	if got, want := rt.upstreams["new"].footprint, rt.upstreams["old"].footprint; got < want {
		t.Fatalf("a new upstream starts at %d, the others are at %d", got, want)
	}
}

// sendOneByOne routes prompts that share a system prompt, each when the one
// before is done, and returns how many tokens each upstream had to compute.
func sendOneByOne(rt *Router, c *clock, targets []Candidate, n int) (computed map[string]int) {
	rnd := rand.New(rand.NewPCG(1, 4))
	system := make([]uint64, 64) // 4,096 tokens
	for i := range system {
		system[i] = rnd.Uint64()
	}
	computed = make(map[string]int)
	for range n {
		chain := append(append([]uint64(nil), system...), rnd.Uint64(), rnd.Uint64())
		r := rt.NewRequest(Prompt{Chain: chain, Tokens: len(chain)*64 + 300, BlockTokens: 64, Stream: true})
		d := r.Route(targets, false)
		computed[targets[d.Pick].Address] += r.Tokens() - d.Cached
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
	var targets []Candidate
	for i := range 8 {
		targets = append(targets, Candidate{Address: fmt.Sprint("node-", i)})
	}
	computed := sendOneByOne(rt, c, targets, 3000)
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

// A prefix that all ask for, more often than one upstream can serve, is
// computed once on each that is needed, and not again and again.
func TestAHotPrefixSpreadsWithoutFlapping(t *testing.T) {
	rt, c := newTestRouter()
	rnd := rand.New(rand.NewPCG(3, 4))
	const nodes, hot, own = 4, 125 * 64, 8 * 64
	var targets []Candidate
	servers := make([]*server, nodes)
	for i := range servers {
		targets = append(targets, Candidate{Address: fmt.Sprint("node-", i)})
		servers[i] = &server{perToken: startCost, noise: 0.2}
	}
	prefix := make([]uint64, hot/64)
	for i := range prefix {
		prefix[i] = rnd.Uint64()
	}
	var open []answer
	copies, waited := 0, time.Duration(0)
	for range 3000 { // 25 a second: what 1.6 upstreams can do with the prefix
		c.add(time.Duration(rnd.ExpFloat64() * float64(40*time.Millisecond)))
		open = deliver(c, open)
		chain := append([]uint64(nil), prefix...)
		for range own / 64 {
			chain = append(chain, rnd.Uint64())
		}
		r := rt.NewRequest(Prompt{Chain: chain, Tokens: hot + own, BlockTokens: 64, Stream: true})
		d := r.Route(targets, false)
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
	targets := []Candidate{{Address: "one"}, {Address: "two"}}
	rnd := rand.New(rand.NewPCG(1, 4))
	chain := make([]uint64, 800) // 51,200 tokens
	for i := range chain {
		chain[i] = rnd.Uint64()
	}
	moves, last := 0, 0
	for i := range 200 {
		chain = append(chain, rnd.Uint64(), rnd.Uint64(), rnd.Uint64())
		r := rt.NewRequest(Prompt{Chain: append([]uint64(nil), chain...), Tokens: len(chain) * 64, BlockTokens: 64, Stream: true})
		d := r.Route(targets, false)
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

// answer is a request whose first token, and all others, come at a time.
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

func TestFasterUpstreamsGetMore(t *testing.T) {
	rt, c := newTestRouter()
	rnd := rand.New(rand.NewPCG(5, 5))
	targets := []Candidate{{Address: "fast"}, {Address: "slow"}}
	servers := []*server{{perToken: startCost / 2}, {perToken: startCost * 3 / 2}}
	var open []answer
	counts := [2]int{}
	for i := range 2000 {
		c.add(time.Duration(rnd.ExpFloat64() * float64(220*time.Millisecond)))
		open = deliver(c, open)
		r := rt.NewRequest(Prompt{Chain: []uint64{rnd.Uint64()}, Tokens: 2000, BlockTokens: 64, Stream: true})
		d := r.Route(targets, false)
		if i >= 500 {
			counts[d.Pick]++
		}
		open = append(open, answer{r, servers[d.Pick].finish(c.t, 2000, rnd)})
	}
	if counts[0] < 2*counts[1] || counts[1] == 0 {
		t.Errorf("three times as fast: got %d, the other %d", counts[0], counts[1])
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

func TestTheTreeForgetsWhatDoesNotFit(t *testing.T) {
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
		t.Errorf("%d tokens held for never sent there", known)
	}
}

func TestConcurrentUse(t *testing.T) {
	rt := New(1_000_000, time.Now)
	targets := []Candidate{{Address: "one"}, {Address: "two"}, {Address: "three"}}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 3))
			for range 300 {
				text := []byte("abababab")[:1+rnd.IntN(8)]
				text[rnd.IntN(len(text))] = 'c'
				r := rt.newTestRequest(string(text))
				for range 1 + rnd.IntN(2) {
					if r.Route(targets, rnd.IntN(2) == 0).Pick < 0 {
						r.Assign(targets[rnd.IntN(3)])
					}
				}
				switch rnd.IntN(8) {
				case 0:
					rt.Forget("two")
				case 1:
					rt.Clear()
				case 2:
					rt.SetLimit(int64(200_000 + rnd.IntN(1_000_000)))
				case 3:
					rt.Sweep()
					rt.Upstreams()
				default:
					r.Confirm()
					r.FirstToken()
					r.Reported(r.Tokens(), rnd.IntN(r.Tokens()))
					rt.SetCapacity("one", int64(rnd.IntN(3)*1000))
				}
				r.End()
			}
		})
	}
	wg.Wait()
	rt.validate(t, 0)
	for _, u := range rt.Upstreams() {
		if u.Requests != 0 || u.Wait != 0 {
			t.Fatalf("left over: %+v", u)
		}
	}
}

// BenchmarkRoute64 is the whole decision for a 32k-token prompt that one of
// 64 upstreams holds: lookup, prediction for each, reservation, record, end.
func BenchmarkRoute64(b *testing.B) {
	rt := New(20_000_000, time.Now)
	targets := make([]Candidate, 64)
	for i := range targets {
		targets[i].Address = fmt.Sprint("node-", i, ":8000")
		rt.SetCapacity(targets[i].Address, 1_500_000)
		rt.SetLoad(targets[i].Address, EngineLoad{Running: 3})
	}
	chain := make([]uint64, 32768*4/256)
	for i := range chain {
		chain[i] = rand.Uint64()
	}
	prompt := Prompt{Chain: chain, Tokens: 32768, BlockTokens: 64, Stream: true}
	for _, t := range targets {
		r := rt.NewRequest(Prompt{Chain: chain[:16], Tokens: 32768, BlockTokens: 64})
		r.Route([]Candidate{t}, false)
		r.Confirm()
		r.End()
	}
	r := rt.NewRequest(prompt)
	b.ReportAllocs()
	for b.Loop() {
		r.Route(targets, false)
		r.Confirm()
		r.FirstToken()
		r.End()
	}
}

// Decisions take the upstreams of the one before where they can, but never one
// that has been removed, or stands in another place.
func TestUpstreamsAreFoundAgain(t *testing.T) {
	rt, c := newTestRouter()
	targets := []Candidate{{Address: "one"}, {Address: "two"}, {Address: "three"}}
	look := func(targets []Candidate) {
		t.Helper()
		rt.newTestRequest("abc").Explain(targets)
		if len(rt.scratch.upstreams) != len(targets) {
			t.Fatalf("%d upstreams for %d targets", len(rt.scratch.upstreams), len(targets))
		}
		for i, u := range rt.scratch.upstreams {
			if u != rt.upstreams[targets[i].Address] {
				t.Errorf("%s: another upstream, or one that is gone", targets[i].Address)
			}
		}
	}
	look(targets)
	look(targets)
	look(targets[1:])
	look([]Candidate{targets[2], targets[0]})
	look(targets)
	c.add(2 * upstreamTTL)
	if gone := rt.Sweep(); len(gone) != 3 {
		t.Fatalf("%v are gone", gone)
	}
	look(targets)
	look(nil)
	look(targets)
}
