// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestBacklog(t *testing.T) {
	var b backlog
	want := func(now int, want time.Duration) {
		t.Helper()
		if got := b.wait(at(now), ms(100)); got != want {
			t.Errorf("at %d ms: %v, want %v", now, got, want)
		}
	}
	want(0, 0)
	b.report(at(0), EngineLoad{Waiting: 5, Running: 1}, 6)
	want(0, ms(500))
	b.started++
	want(200, ms(400)) // six of 100 ms, of which 200 ms have passed
	want(900, 0)
	b.ended = 4
	b.report(at(2000), EngineLoad{Waiting: 3, Running: 1}, 4)
	want(2000, ms(1500)) // four answers in 2 s
	b.ended = 1
	b.report(at(4000), EngineLoad{Running: 9}, 9)
	want(4000, 0) // nothing waits, and whether all the time is not known
	b.ended = 1
	b.report(at(6000), EngineLoad{Waiting: 2, Running: 1}, 1)
	want(6000, ms(1000))
	b.ended = 2 // and as many of each of two other gateways
	b.report(at(8000), EngineLoad{Waiting: 2, Running: 1}, 1)
	if got := b.wait(at(8000), 0).Round(time.Millisecond); got < ms(790) || got > ms(820) { // ten in 4 s, the older ones faded
		t.Errorf("with other gateways: %v", got)
	}
	want(8000+int(backlogTTL/time.Millisecond)+1, 0)
}

// Engines take four times as long as is assumed, and no answer is streamed, so
// nothing shows how long a prompt takes. With reports of what waits there, the requests
// that are let in wait for about as long as they may; without, for as long as the
// overload lasts.
func TestOverloadOfSlowEnginesWithoutStreams(t *testing.T) {
	for seed := range seeds(3) {
		with, without := longestWaitOfWholeAnswers(seed, true), longestWaitOfWholeAnswers(seed, false)
		t.Logf("longest waits: %v with reports, %v without", with, without)
		if with > 9*time.Second || without < 2*with {
			t.Errorf("seed %d: one waited for %v, without reports for %v", seed, with, without)
		}
	}
}

// longestWaitOfWholeAnswers sends twice what two engines can compute for five minutes, with max_wait 3s,
// and returns the longest wait for an engine after the first.
func longestWaitOfWholeAnswers(seed uint64, reports bool) (longest time.Duration) {
	rnd := rand.New(rand.NewPCG(seed, 3))
	rt, c := newTestRouter()
	s := NewShedder(3 * time.Second)
	candidates := []Candidate{{Address: "one"}, {Address: "two"}}
	servers := []server{{perToken: 4 * startCost}, {perToken: 4 * startCost}}
	begins := make([][]time.Time, 2) // of the prompts at each engine
	var open []answer
	began, reported := c.t, c.t
	for c.t.Sub(began) < 5*time.Minute {
		c.add(time.Duration(rnd.ExpFloat64() * float64(200*time.Millisecond)))
		open = deliver(c, open)
		if reports && c.t.Sub(reported) >= 2*time.Second {
			reported = c.t
			for i := range servers {
				waiting := 0
				for _, at := range begins[i] {
					if at.After(c.t) {
						waiting++
					}
				}
				running := 0
				if servers[i].free.After(c.t) {
					running = 1
				}
				rt.SetLoad(candidates[i].Address, EngineLoad{Waiting: waiting, Running: running})
			}
		}
		r := rt.NewRequest(Prompt{Chain: []uint64{rnd.Uint64()}, Tokens: 1600, BlockTokens: 64})
		r.LimitWait(s, 0, "")
		d := r.Route(candidates, false)
		if d.Pick < 0 {
			continue
		}
		at := later(servers[d.Pick].free, c.t)
		begins[d.Pick] = append(slices.DeleteFunc(begins[d.Pick], func(at time.Time) bool { return !at.After(c.t) }), at)
		if c.t.Sub(began) > time.Minute {
			longest = max(longest, at.Sub(c.t))
		}
		open = append(open, answer{r, servers[d.Pick].finish(c.t, 1600, rnd)})
	}
	return longest
}
