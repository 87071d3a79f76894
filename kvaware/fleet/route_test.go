// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

func TestRoute(t *testing.T) {
	f, _ := newTestFleet()
	two := []Target{{Address: "one"}, {Address: "two"}}
	r := f.newTestRequest("abcdefgh")
	if d := r.Route(two, false); d != (Decision{Target: 0, Cached: 0, Reason: Cold}) {
		t.Fatalf("cold: %+v", d)
	}
	r.Confirm()
	r.FirstToken()
	r.End()

	again := f.newTestRequest("abcdefghij")
	if d := again.Route(two, false); d != (Decision{Target: 0, Cached: 8 * 64, Reason: Hit}) {
		t.Fatalf("hit: %+v", d)
	}
	again.End()

	// The holder is busy for longer than computing it all again takes.
	busy := f.NewRequest(Prompt{Chain: chainOf("zzzz"), Tokens: 10_000, BlockTokens: 64, Stream: true})
	busy.Route(two[:1], false)
	moved := f.newTestRequest("abcdefgh")
	if d := moved.Route(two, false); d != (Decision{Target: 1, Cached: 0, Reason: Load}) {
		t.Fatalf("load: %+v", d)
	}
	if d := f.newTestRequest("abc").Route(nil, false); d.Target != -1 {
		t.Fatalf("no targets: %+v", d)
	}
}

func TestColdPromptsCanBeLeftToAnotherPolicy(t *testing.T) {
	f, _ := newTestFleet()
	r := f.newTestRequest("abc")
	if d := r.Route(a("one"), true); d != (Decision{Target: -1, Reason: Fallback}) {
		t.Fatalf("cold: %+v", d)
	}
	if len(f.upstreams["one"].pending) != 0 {
		t.Fatal("something was reserved for a decision that was left open")
	}
	if d := r.Assign(Target{Address: "two"}); d != (Decision{Reason: Fallback}) {
		t.Fatalf("assigned: %+v", d)
	}
	r.Confirm()
	if d := f.newTestRequest("abcd").Route(a("two"), true); d.Reason != Hit || d.Cached != 3*64 {
		t.Fatalf("what another policy picked is not remembered: %+v", d)
	}
}

func TestTheLastTokenIsNeverCached(t *testing.T) {
	f, _ := newTestFleet()
	prompt := Prompt{Chain: chainOf("abcd"), Tokens: 256, BlockTokens: 64}
	f.NewRequest(prompt).Route(a("n"), false)
	if d := f.NewRequest(prompt).Route(a("n"), false); d.Cached != 255 {
		t.Fatalf("%d of 256 tokens cached", d.Cached)
	}
}

func TestRequestsOfOthersCountAsLoad(t *testing.T) {
	f, _ := newTestFleet()
	d := f.newTestRequest("ab").Route([]Target{{Address: "one", Requests: 3}, {Address: "two"}}, false)
	if d.Target != 1 {
		t.Fatalf("picked %d: Caddy counts three requests there", d.Target)
	}
}

func TestForgetAndSweep(t *testing.T) {
	f, c := newTestFleet()
	r := f.newTestRequest("abcd")
	r.Route(a("one"), false)
	r.Confirm()
	if f.Forget("two") || !f.Forget("one") {
		t.Fatal("Forget knows the wrong upstreams")
	}
	wantHolds(t, f, "one", "abcd", 0)
	c.add(2 * idleUpstream)
	if gone := f.Sweep(); len(gone) != 0 {
		t.Fatalf("an upstream with a request in flight was forgotten: %v", gone)
	}
	r.End()
	f.newTestRequest("ab").Route(a("two"), false)
	if gone := f.Sweep(); len(gone) != 1 || gone[0] != "one" || len(f.Upstreams()) != 1 {
		t.Fatalf("swept %v, left %v", gone, f.Upstreams())
	}
}

// A new upstream must not be sent every cold prompt until it has caught up.
func TestNewcomersStartLevel(t *testing.T) {
	f, _ := newTestFleet()
	for i := range 6 {
		r := f.newTestRequest(fmt.Sprint("prompt", i))
		r.Route(a("old"), false)
		r.Confirm()
		r.End()
	}
	r := f.newTestRequest("x")
	r.Route(a("new"), false)
	if got, want := f.upstreams["new"].footprint, f.upstreams["old"].footprint; got < want {
		t.Fatalf("a new upstream starts at %d, the others are at %d", got, want)
	}
}

func TestConcurrentUse(t *testing.T) {
	f := New(1_000_000, time.Now)
	targets := []Target{{Address: "one"}, {Address: "two"}, {Address: "three"}}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 3))
			for range 300 {
				text := []byte("abababab")[:1+rnd.IntN(8)]
				text[rnd.IntN(len(text))] = 'c'
				r := f.newTestRequest(string(text))
				for range 1 + rnd.IntN(2) {
					if r.Route(targets, rnd.IntN(2) == 0).Target < 0 {
						r.Assign(targets[rnd.IntN(3)])
					}
				}
				switch rnd.IntN(8) {
				case 0:
					f.Forget("two")
				case 1:
					f.Clear()
				case 2:
					f.SetLimit(int64(200_000 + rnd.IntN(1_000_000)))
				case 3:
					f.Sweep()
					f.Upstreams()
				default:
					r.Confirm()
					r.FirstToken()
				}
				r.End()
			}
		})
	}
	wg.Wait()
	f.validate(t, 0)
	for _, u := range f.Upstreams() {
		if u.Requests != 0 || u.Wait != 0 {
			t.Fatalf("left over: %+v", u)
		}
	}
}

// BenchmarkRoute64 is the whole decision for a 32k-token prompt that one of
// 64 upstreams holds: lookup, prediction for each, reservation, record, end.
func BenchmarkRoute64(b *testing.B) {
	f := New(20_000_000, time.Now)
	targets := make([]Target, 64)
	for i := range targets {
		targets[i].Address = fmt.Sprint("node-", i, ":8000")
	}
	chain := make([]uint64, 32768*4/256)
	for i := range chain {
		chain[i] = rand.Uint64()
	}
	prompt := Prompt{Chain: chain, Tokens: 32768, BlockTokens: 64, Stream: true}
	for _, t := range targets {
		r := f.NewRequest(Prompt{Chain: chain[:16], Tokens: 32768, BlockTokens: 64})
		r.Route([]Target{t}, false)
		r.Confirm()
		r.End()
	}
	r := f.NewRequest(prompt)
	b.ReportAllocs()
	for b.Loop() {
		r.Route(targets, false)
		r.Confirm()
		r.FirstToken()
		r.End()
	}
}
