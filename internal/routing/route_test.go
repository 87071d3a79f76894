// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"math/rand/v2"
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
		t.Fatalf("no candidates: %+v", d)
	}
}

func TestColdPromptsCanBeLeftToAnotherPolicy(t *testing.T) {
	rt, _ := newTestRouter()
	r := rt.newTestRequest("abc")
	if d := r.Route(a("one"), true); d != (Decision{Pick: -1, Reason: Fallback}) {
		t.Fatalf("cold: %+v", d)
	}
	if len(rt.upstreams["one"].pending) != 0 {
		t.Fatal("a decision that picks none has reserved something")
	}
	if d := r.Assign(Candidate{Address: "two"}); d != (Decision{Reason: Fallback}) {
		t.Fatalf("assigned: %+v", d)
	}
	r.Confirm()
	if d := rt.newTestRequest("abcd").Route(a("two"), true); d.Reason != Hit || d.Cached != 3*64 {
		t.Fatalf("another policy's pick is not recorded: %+v", d)
	}
}

func TestFasterUpstreamsGetMore(t *testing.T) {
	rt, c := newTestRouter()
	rnd := rand.New(rand.NewPCG(5, 5))
	candidates := []Candidate{{Address: "fast"}, {Address: "slow"}}
	servers := []*server{{perToken: startCost / 2}, {perToken: startCost * 3 / 2}}
	var open []answer
	counts := [2]int{}
	for i := range 2000 {
		c.add(time.Duration(rnd.ExpFloat64() * float64(220*time.Millisecond)))
		open = deliver(c, open)
		r := rt.NewRequest(Prompt{Chain: []uint64{rnd.Uint64()}, Tokens: 2000, BlockTokens: 64, Stream: true})
		d := r.Route(candidates, false)
		if i >= 500 {
			counts[d.Pick]++
		}
		open = append(open, answer{r, servers[d.Pick].finish(c.t, 2000, rnd)})
	}
	if counts[0] < 2*counts[1] || counts[1] == 0 {
		t.Errorf("three times as fast: got %d, the other %d", counts[0], counts[1])
	}
}
