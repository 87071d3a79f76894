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
// nothing shows how long a prompt takes. With reports of what waits there, the
// requests that are let in wait for about as long as they may; without, for as long
// as the overload lasts.
func TestOverloadOfSlowEnginesWithoutStreams(t *testing.T) {
	for seed := range seeds(3) {
		whole := wholeAnswers{slowness: []time.Duration{4, 4}, load: 2, shedder: NewShedder(3 * time.Second)}
		without, _ := whole.longestWait(seed)
		whole.reports, whole.shedder = true, NewShedder(3*time.Second)
		with, _ := whole.longestWait(seed)
		t.Logf("longest waits: %v with reports, %v without", with, without)
		if with > 9*time.Second || without < 2*with {
			t.Errorf("seed %d: one waited for %v, without reports for %v", seed, with, without)
		}
	}
}

// One of four engines is ten times slower than the others, and no answer is
// streamed: with reports it gets about as much as it can compute, a thirtieth, and
// the longest wait is a few answers of the slow engine (two seconds each).
func TestASlowEngineWithoutStreams(t *testing.T) {
	for seed := range seeds(3) {
		whole := wholeAnswers{slowness: []time.Duration{10, 1, 1, 1}, load: .75}
		without, hadShare := whole.longestWait(seed)
		whole.reports = true
		with, hasShare := whole.longestWait(seed)
		t.Logf("longest wait %v with reports, %v without; share of the slow engine %.3f and %.3f", with, without, hasShare, hadShare)
		if hasShare > .05 || with > 16*time.Second || with > without/3 {
			t.Errorf("seed %d: longest wait %v, without reports %v; share of the slow engine %.3f and %.3f", seed, with, without, hasShare, hadShare)
		}
	}
}

// wholeAnswers sends requests without streams to engines for five minutes.
type wholeAnswers struct {
	slowness []time.Duration // of each engine: multiples of what is assumed
	load     float64         // share of what all can compute
	reports  bool            // the engines report their load every two seconds
	shedder  *Shedder        // nil: none
}

// longestWait returns the longest wait for an engine after the first minute, and the
// share of requests that went to the first engine.
func (w *wholeAnswers) longestWait(seed uint64) (longest time.Duration, firstShare float64) {
	const tokens = 1600
	rnd := rand.New(rand.NewPCG(seed, 3))
	rt, c := newTestRouter()
	candidates := make([]Candidate, len(w.slowness))
	servers := make([]server, len(w.slowness))
	begins := make([][]time.Time, len(w.slowness)) // of the prompts at each engine
	perSecond := 0.0
	for i, slow := range w.slowness {
		candidates[i].Address = string(rune('a' + i))
		servers[i].perToken = slow * startCost
		perSecond += w.load * float64(time.Second) / float64(prefill(tokens, servers[i].perToken))
	}
	var open []answer
	began, reported := c.t, c.t
	sent, sentToFirst := 0, 0
	for c.t.Sub(began) < 5*time.Minute {
		c.add(time.Duration(rnd.ExpFloat64() / perSecond * float64(time.Second)))
		open = deliver(c, open)
		for i := range begins {
			begins[i] = slices.DeleteFunc(begins[i], func(at time.Time) bool { return !at.After(c.t) })
		}
		if w.reports && c.t.Sub(reported) >= 2*time.Second {
			reported = c.t
			for i := range servers {
				running := 0
				if servers[i].free.After(c.t) {
					running = 1
				}
				rt.SetLoad(candidates[i].Address, EngineLoad{Waiting: len(begins[i]), Running: running})
			}
		}
		r := rt.NewRequest(Prompt{Chain: []uint64{rnd.Uint64()}, Tokens: tokens, BlockTokens: 64})
		if w.shedder != nil {
			r.LimitWait(w.shedder, 0, "")
		}
		d := r.Route(candidates, false)
		if d.Pick < 0 {
			continue
		}
		at := later(servers[d.Pick].free, c.t)
		begins[d.Pick] = append(begins[d.Pick], at)
		if sent++; d.Pick == 0 {
			sentToFirst++
		}
		if c.t.Sub(began) > time.Minute {
			longest = max(longest, at.Sub(c.t))
		}
		open = append(open, answer{r, servers[d.Pick].finish(c.t, tokens, rnd)})
	}
	return longest, float64(sentToFirst) / float64(sent)
}
