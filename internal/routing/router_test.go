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

// More upstreams than the tree can tell apart: those it does not know are
// routed to by load, and nothing mixes them up.
func TestMoreUpstreamsThanTheTreeHolds(t *testing.T) {
	rt, _ := newTestRouter()
	for i := range 6000 {
		address := fmt.Sprint("10.0.", i/256, ".", i%256, ":8000")
		r := rt.newTestRequest(fmt.Sprint("prompt ", i))
		if d := r.Route(a(address), false); d.Pick != 0 || d.Cached != 0 {
			t.Fatalf("upstream %d: %+v", i, d)
		}
		r.Confirm()
		r.FirstToken()
		r.End()
	}
	last := "10.0.23.111:8000"
	if n := rt.upstreams[last].queue.requests; n != 0 {
		t.Fatalf("%d requests left at the last one", n)
	}
	r := rt.newTestRequest("prompt 5999")
	if d := r.Route([]Candidate{{Address: last, Requests: 1}, {Address: "10.0.0.0:8000"}}, false); d.Pick < 0 || d.Cached < 0 {
		t.Fatalf("deciding among them: %+v", d)
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
