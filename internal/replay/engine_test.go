// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// slowEngine is the golden model of an engine: every running answer counts its
// own tokens, and each step of time asks all of them for the next event.
type slowEngine struct {
	model   Model
	block   int
	rate    float64
	cache   *slowCache
	now     float64 // seconds
	waiting []*slowJob
	running []*slowJob
	step    map[*slowJob]int
	left    float64 // of the step
	length  float64
}

type slowJob struct {
	*Request
	factor      float64
	begun       bool
	todo        int
	pinned      int
	answer      float64 // tokens to come
	first, done float64
	cached      int
}

func (s *slowEngine) decode() float64 {
	return s.model.DecodeStep.Seconds() + float64(len(s.running))*s.model.DecodePerSequence.Seconds()
}

func (s *slowEngine) active() int {
	n := len(s.running)
	for _, j := range s.waiting {
		if j.begun {
			n++
		}
	}
	return n
}

func (s *slowEngine) begin(j *slowJob) bool {
	n := s.active()
	if n > 0 && n >= s.model.MaxRunning {
		return false
	}
	matched, pinned := s.cache.acquire(j.Chain, n == 0)
	if n > 0 && pinned < len(j.Chain) {
		return false
	}
	j.begun, j.pinned = true, pinned
	j.cached = min(matched*s.block, j.Tokens-1)
	j.todo = j.Tokens - j.cached
	return true
}

func (s *slowEngine) fill() {
	s.step = map[*slowJob]int{}
	room, seconds := s.model.Chunk, 0.0
	for _, j := range s.waiting {
		if s.model.Chunk > 0 && room == 0 || s.model.Chunk == 0 && len(s.step) == 1 {
			break
		}
		if !j.begun && !s.begin(j) {
			break
		}
		n := j.todo
		if s.model.Chunk > 0 {
			n = min(n, room)
			room -= n
		}
		s.step[j] = n
		seconds += float64(n) / s.rate * j.factor
	}
	if s.model.Chunk > 0 && len(s.step) > 0 && len(s.running) > 0 {
		seconds += s.decode()
	}
	s.left, s.length = seconds, seconds
}

// until runs the engine up to a time.
func (s *slowEngine) until(end float64) {
	for {
		if len(s.step) == 0 {
			s.fill()
		}
		gain := 0.0 // tokens a second of each answer
		if len(s.step) == 0 && len(s.running) > 0 {
			gain = 1 / s.decode()
		} else if len(s.step) > 0 && s.model.Chunk > 0 {
			gain = 1 / s.length
		}
		dt := end - s.now
		if len(s.step) > 0 {
			dt = min(dt, s.left)
		}
		for _, j := range s.running {
			if gain > 0 {
				dt = min(dt, max(0, j.answer)/gain)
			}
		}
		s.now += dt
		s.left -= dt
		var still []*slowJob
		for _, j := range s.running {
			if j.answer -= dt * gain; j.answer > 1e-6 {
				still = append(still, j)
				continue
			}
			j.done = s.now
			s.cache.release(j.Chain[:j.pinned])
		}
		s.running = still
		if len(s.step) > 0 && s.left < 1e-9 {
			s.end()
		} else if s.now >= end {
			return
		}
	}
}

func (s *slowEngine) end() {
	for j, n := range s.step {
		j.todo -= n
	}
	s.step = nil
	var still []*slowJob
	for _, j := range s.waiting {
		if !j.begun || j.todo > 0 {
			still = append(still, j)
			continue
		}
		j.first = s.now
		if j.answer = float64(j.Output - 1); j.Output == 1 {
			j.done = s.now
			s.cache.release(j.Chain[:j.pinned])
			continue
		}
		s.running = append(s.running, j)
	}
	s.waiting = still
}

func randomTrace(rnd *rand.Rand, n, block int) *Trace {
	t := &Trace{BlockTokens: block}
	at := time.Duration(0)
	for range n {
		at += time.Duration(rnd.ExpFloat64() * float64(200*time.Millisecond))
		chain := randomChain(rnd, 12)
		t.Requests = append(t.Requests, Request{
			At: at, Chain: chain, Tokens: len(chain)*block + 1 + rnd.IntN(block), Output: 1 + rnd.IntN(40),
		})
	}
	t.finish()
	return t
}

func TestEngineAgainstGoldenModel(t *testing.T) {
	for seed := range uint64(120) {
		rnd := rand.New(rand.NewPCG(seed, 5))
		const block = 64
		m := Model{
			PrefillRates:      []float64{500 + 3000*rnd.Float64()},
			KVTokens:          block * (4 + rnd.IntN(60)),
			Chunk:             []int{0, 0, 100, 512}[rnd.IntN(4)],
			DecodeStep:        time.Duration(1+rnd.IntN(30)) * time.Millisecond,
			DecodePerSequence: time.Duration(rnd.IntN(2000)) * time.Microsecond,
			MaxRunning:        1 + rnd.IntN(12),
			Noise:             0.3 * float64(rnd.IntN(2)),
		}
		trace := randomTrace(rnd, 80, block)
		s := &Setup{Nodes: 1, Model: m, Speed: 1, Seed: seed, KVAware: DefaultKnowledge()}
		fast := make([]job, len(trace.Requests))
		w := newSimulation(trace, s, &policySpec{make: func(*simulation) policy { return &recordJobs{jobs: fast} }})
		w.replay(trace)

		slow := &slowEngine{model: m, block: block, rate: m.PrefillRates[0],
			cache: &slowCache{capacity: max(1, m.KVTokens/block), pins: map[uint64]int{}}}
		jobs := make([]slowJob, len(trace.Requests))
		for i := range jobs {
			r := &trace.Requests[i]
			slow.until(r.At.Seconds())
			jobs[i] = slowJob{Request: r, factor: fast[i].costFactor}
			slow.waiting = append(slow.waiting, &jobs[i])
		}
		slow.until(slow.now + 1e6)
		for i := range jobs {
			f, g := &fast[i], &jobs[i]
			if f.cached != g.cached || math.Abs(f.first.Seconds()-g.first) > 1e-4 || math.Abs(f.done.Seconds()-g.done) > 1e-4 {
				t.Fatalf("seed %d request %d: cached %d first %v done %v, want %d %.6f %.6f",
					seed, i, f.cached, f.first, f.done, g.cached, g.first, g.done)
			}
		}
	}
}

// recordJobs sends all requests to the only node and keeps the finished jobs.
type recordJobs struct {
	noFeedback
	jobs []job
}

func (c *recordJobs) pick(*job, time.Duration) int { return 0 }
func (c *recordJobs) done(j *job, _ time.Duration) { c.jobs[j.index] = *j }

func TestWholePromptsWaitInLine(t *testing.T) {
	trace := &Trace{BlockTokens: 100, Requests: []Request{
		{Tokens: 1000, Output: 11}, {At: 500 * time.Millisecond, Tokens: 500, Output: 1},
	}}
	m := DefaultModel()
	m.PrefillRates = []float64{1000}
	m.DecodeStep, m.DecodePerSequence = 10*time.Millisecond, 0
	jobs := make([]job, 2)
	newSimulation(trace, &Setup{Nodes: 1, Model: m, Speed: 1}, &policySpec{make: func(*simulation) policy { return &recordJobs{jobs: jobs} }}).replay(trace)
	// The second prompt stops the first one's answer for half a second.
	want := []time.Duration{time.Second, 1600 * time.Millisecond, 1500 * time.Millisecond, 1500 * time.Millisecond}
	if got := []time.Duration{jobs[0].first, jobs[0].done, jobs[1].first, jobs[1].done}; !slices.Equal(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
}

func TestBacklogIsTheTimeToTheLastFirstToken(t *testing.T) {
	e := &engine{model: &Model{MaxRunning: 9, DecodeStep: time.Millisecond}, blockTokens: 10, rate: 100,
		cache: newCache(100), onFirst: func(*job) {}, onDone: func(*job) {}}
	for _, n := range []int{100, 50} {
		e.add(&job{Request: &Request{Tokens: n, Output: 1}, costFactor: 1, expectedUncached: n})
	}
	for at, want := range map[time.Duration]float64{0: 1.5, 400 * time.Millisecond: 1.1} {
		if got := e.prefillWait(at); math.Abs(got-want) > 1e-9 {
			t.Errorf("backlog at %v: %v, want %v", at, got, want)
		}
	}
}
