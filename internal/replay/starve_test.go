// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// closedLoop sends requests of which a number is in flight at any time.
type closedLoop struct {
	watched
	simulation *simulation
	next       []time.Duration
	inFlight   int
	sent       int
	factors    *rand.Rand
}

func newClosedLoop(t *testing.T, s *Setup, blockTokens int, name string) *closedLoop {
	t.Helper()
	k, err := specOf(name)
	if err != nil {
		t.Fatal(err)
	}
	l := &closedLoop{factors: rand.New(rand.NewPCG(s.Seed, 2)), next: make([]time.Duration, s.Nodes)}
	spec := *k
	spec.make = func(in *simulation) policy {
		l.policy = k.make(in)
		return l
	}
	l.simulation = newSimulation(&Trace{BlockTokens: blockTokens}, s, &spec)
	for i := range l.next {
		l.next[i] = never
	}
	return l
}

func (l *closedLoop) done(j *job, now time.Duration) {
	l.inFlight--
	l.watched.done(j, now)
}

// send sends the requests, and returns how many went to each node.
func (l *closedLoop) send(requests []Request, concurrency int, pause time.Duration) []int {
	l.picks = make([]int, len(l.next))
	w := l.simulation
	for len(requests) > 0 || l.inFlight > 0 {
		for l.inFlight < concurrency && len(requests) > 0 {
			j := &job{Request: &requests[0], index: l.sent, costFactor: w.setup.Model.costFactor(l.factors), arrived: w.now}
			requests = requests[1:]
			l.inFlight++
			l.sent++
			w.arrive(j, l.next)
		}
		w.drain(l.next, slices.Min(l.next))
	}
	w.drain(l.next, w.now+pause)
	w.setTime(w.now + pause)
	return l.picks
}

// uniquePrompts returns n requests that share nothing.
func uniquePrompts(n int, rnd *rand.Rand) []Request {
	requests := make([]Request, n)
	for i := range requests {
		r := Request{Tokens: 500 + rnd.IntN(3000), Output: 20 + rnd.IntN(100)}
		for range r.Tokens / 64 {
			r.Chain = append(r.Chain, rnd.Uint64())
		}
		requests[i] = r
	}
	return requests
}

// oneSlowOfFour is a setup whose first engine computes prompts ten times slower.
func oneSlowOfFour(seed uint64) Setup {
	s := defaultSetup()
	s.Nodes, s.Seed = 4, seed
	s.Model.PrefillRates = []float64{800, 8000, 8000, 8000}
	return s
}

// In each of six batches an engine that is equal to two others gets half of its
// share or more, whatever the first observations are.
func TestAnEqualEngineDoesNotStarve(t *testing.T) {
	const batch = 60
	for _, chunk := range []int{0, 512} {
		for _, noise := range []float64{0, 0.3} {
			for _, concurrency := range []int{1, 8, 12, 16} {
				for seed := range uint64(8) {
					s := oneSlowOfFour(seed)
					s.Model.Chunk, s.Model.Noise = chunk, noise
					rnd := rand.New(rand.NewPCG(seed, 31))
					l := newClosedLoop(t, &s, 64, "kv_aware")
					for i := range 6 {
						picks := l.send(uniquePrompts(batch, rnd), concurrency, 5*time.Second)
						if 2*3*slices.Min(picks[1:]) < batch-picks[0] {
							t.Errorf("chunks of %d, noise %v, %d at a time, seed %d, batch %d: %v", chunk, noise, concurrency, seed, i, picks)
						}
					}
				}
			}
		}
	}
}

// The engine becomes as fast as the others. After four batches, five minutes apart,
// it has half of its share, and its past does not count.
func TestAHealedEngineGetsItsShare(t *testing.T) {
	const batch = 60
	for seed := range uint64(8) {
		s := oneSlowOfFour(seed)
		s.Model.Noise = 0.3
		rnd := rand.New(rand.NewPCG(seed, 32))
		l := newClosedLoop(t, &s, 64, "kv_aware")
		var picks []int
		for i := range 10 {
			if i == 6 {
				l.simulation.engines[0].rate = l.simulation.engines[1].rate
			}
			picks = l.send(uniquePrompts(batch, rnd), 12, 5*time.Minute)
		}
		if 2*4*picks[0] < batch {
			t.Errorf("seed %d: %v", seed, picks)
		}
	}
}

// A slow engine gets less to compute because it is slow, not because its cache is
// empty: where the others are idle it gets the prompts that show how slow it is, and
// no copies.
func TestASlowEngineGetsNoCopies(t *testing.T) {
	for _, concurrency := range []int{1, 4, 16} {
		for seed := range uint64(8) {
			s := oneSlowOfFour(seed)
			s.Model.Noise = 0.2
			l := newClosedLoop(t, &s, 64, "kv_aware")
			picks := l.send(uniquePrompts(400, rand.New(rand.NewPCG(seed, 33))), concurrency, time.Second)
			if picks[0] > 15 {
				t.Errorf("%d at a time, seed %d: %v", concurrency, seed, picks)
			}
		}
	}
}
