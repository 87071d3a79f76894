// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math/rand/v2"
	"time"
)

// Setup describes the engines and the conditions of a replay.
type Setup struct {
	Nodes int
	Model Model
	// Speed divides the trace's times: 2 sends requests twice as fast.
	Speed float64
	Seed  uint64
	// KVAware sets what the gateway knows.
	KVAware Knowledge
}

// policy routes requests in one simulation. As in a gateway, it hears of first
// tokens and of the ends of answers.
type policy interface {
	pick(j *job, now time.Duration) int
	first(j *job, now time.Duration)
	done(j *job, now time.Duration)
}

// node gives a policy what an engine reports by KV events and metrics.
type node interface {
	held(chain []uint64) int // leading blocks of the chain in its cache
	usage() float64          // share of the cache that running requests hold, 0 to 1
	queued() int             // requests whose prefill has not started
}

// simulation holds the state of one replay under one policy. A policy gets all of
// it, and its constructor takes only what the policy may know.
type simulation struct {
	setup       *Setup
	blockTokens int
	engines     []*engine
	nodes       []node // the same engines, with only what a real policy may read
	inFlight    []int  // requests per node, as a gateway counts them
	policy      policy
	rnd         *rand.Rand // the policy's
	now         time.Duration
	recorder    recorder
}

func newSimulation(t *Trace, s *Setup, kind *policySpec) *simulation {
	w := &simulation{
		setup:       s,
		blockTokens: t.BlockTokens,
		inFlight:    make([]int, s.Nodes),
		rnd:         rand.New(rand.NewPCG(s.Seed, 1)),
	}
	capacity := max(1, s.Model.KVTokens/t.BlockTokens)
	pool := newCache(capacity * s.Nodes)
	for i := range s.Nodes {
		e := &engine{
			model:       &s.Model,
			blockTokens: t.BlockTokens,
			rate:        s.Model.PrefillRates[i%len(s.Model.PrefillRates)],
			cache:       pool,
			onFirst:     w.first,
			onDone:      w.done,
		}
		if !kind.pooled {
			e.cache = newCache(capacity)
		}
		w.engines, w.nodes = append(w.engines, e), append(w.nodes, e)
	}
	w.policy = kind.make(w)
	return w
}

// replay replays the whole trace.
func (w *simulation) replay(t *Trace) {
	factors := rand.New(rand.NewPCG(w.setup.Seed, 2)) // the same for all policies
	w.recorder.begin(w, t)
	next := make([]time.Duration, len(w.engines))
	jobs := make([]job, len(t.Requests))
	for i := range next {
		next[i] = never
	}
	for i := range jobs {
		j := &jobs[i]
		*j = job{Request: &t.Requests[i], index: i, costFactor: w.setup.Model.costFactor(factors)}
		j.arrived = time.Duration(float64(j.At) / w.setup.Speed)
		w.drain(next, j.arrived)
		w.arrive(j, next)
	}
	w.drain(next, never-1)
}

const never = time.Duration(1<<63 - 1)

// drain handles all events up to a time, in order. next holds each engine's next
// event.
func (w *simulation) drain(next []time.Duration, until time.Duration) {
	for {
		node, at := -1, until
		for i, t := range next {
			if t <= at && (node < 0 || t < at) {
				node, at = i, t
			}
		}
		if node < 0 {
			return
		}
		w.setTime(at)
		w.engines[node].advance(at)
		next[node] = w.engines[node].nextEvent()
	}
}

func (w *simulation) arrive(j *job, next []time.Duration) {
	w.setTime(j.arrived)
	j.node = w.policy.pick(j, w.now)
	w.inFlight[j.node]++
	e := w.engines[j.node]
	e.advance(w.now)
	e.add(j)
	next[j.node] = e.nextEvent()
}

func (w *simulation) setTime(now time.Duration) {
	w.recorder.sample(w, now)
	w.now = now
}

func (w *simulation) first(j *job) { w.policy.first(j, w.now) }

func (w *simulation) done(j *job) {
	w.inFlight[j.node]--
	w.policy.done(j, w.now)
	w.recorder.done(j)
}

// nextEvent returns the time of the engine's next event, or never.
func (e *engine) nextEvent() time.Duration {
	if at, ok := e.next(); ok {
		return at
	}
	return never
}
