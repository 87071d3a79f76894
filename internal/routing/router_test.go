// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

func TestForgetAndSweep(t *testing.T) {
	rt, c := newTestRouter()
	r := rt.newTestRequest("abcd")
	r.Route(a("one"), false)
	r.Confirm()
	if rt.Forget("two") || !rt.Forget("one") {
		t.Fatal("Forget reports the wrong upstreams as known")
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

// With more upstreams than the tree has room for, those it does not know are routed
// to by load, and none is taken for another.
func TestMoreUpstreamsThanTheTreeHolds(t *testing.T) {
	rt, _ := newTestRouter()
	route := func(from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			address := fmt.Sprint("node-", i)
			r := rt.newTestRequest(fmt.Sprint("prompt ", i))
			if d := r.Route(a(address), false); d.Pick != 0 || d.Cached != 0 {
				t.Fatalf("upstream %d: %+v", i, d)
			}
			r.Confirm()
			r.FirstToken()
			r.End()
			if n := rt.upstreams[address].queue.requests; n != 0 {
				t.Fatalf("%d requests left at upstream %d", n, i)
			}
		}
	}
	route(0, 100)
	for i := 0; rt.tree.Register(fmt.Sprint("other-", i)) != 0; i++ {
	}
	route(100, 200)
	if rt.upstreams["node-99"].id == 0 || rt.upstreams["node-100"].id != 0 {
		t.Fatal("the tree is not full")
	}
	r := rt.newTestRequest("prompt 199")
	if d := r.Route([]Candidate{{Address: "node-199", Requests: 1}, {Address: "node-0"}}, false); d.Pick < 0 || d.Cached < 0 {
		t.Fatalf("a decision between a known and an unknown upstream: %+v", d)
	}
}

func TestConcurrentUse(t *testing.T) {
	rt := New(1_000_000, time.Now)
	candidates := []Candidate{{Address: "one"}, {Address: "two"}, {Address: "three"}}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 3))
			for range 300 {
				text := []byte("abababab")[:1+rnd.IntN(8)]
				text[rnd.IntN(len(text))] = 'c'
				r := rt.newTestRequest(string(text))
				for range 1 + rnd.IntN(2) {
					if r.Route(candidates, rnd.IntN(2) == 0).Pick < 0 {
						r.Assign(candidates[rnd.IntN(3)])
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
