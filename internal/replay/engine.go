// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// Model describes the simulated engines.
type Model struct {
	// PrefillRates holds prompt tokens per second. Node i has the i-th rate,
	// modulo their number.
	PrefillRates []float64
	// KVTokens is the capacity of a node's KV cache in tokens.
	KVTokens int
	// Chunk bounds the prompt tokens of one step; 0: whole prompts.
	Chunk int
	// In DecodeStep + n*DecodePerSequence, n running answers gain a token each.
	DecodeStep, DecodePerSequence time.Duration
	// MaxRunning bounds the requests that an engine works on at a time.
	MaxRunning int
	// Noise is the standard deviation of the logarithm of a prompt's true prefill
	// cost, relative to the cost by the rate.
	Noise float64
}

// DefaultModel describes nodes with a mid-size model on one data-centre GPU.
func DefaultModel() Model {
	return Model{
		PrefillRates:      []float64{8000},
		KVTokens:          3000 * 512,
		DecodeStep:        12 * time.Millisecond,
		DecodePerSequence: 250 * time.Microsecond,
		MaxRunning:        256,
	}
}

// job is the state of one request in a simulation.
type job struct {
	*Request
	index   int
	node    int
	arrived time.Duration
	first   time.Duration
	done    time.Duration

	costFactor       float64 // true prefill cost relative to the model's
	cached           int     // prompt tokens found in the cache
	remaining        int     // prompt tokens still to compute; -1: not started
	pinned           []int32 // blocks in the engine's cache
	target           float64 // of engine.progress at which the answer is complete
	expectedUncached int     // uncached tokens, as a policy with exact knowledge predicts
}

// uncached returns the tokens to compute when so many blocks are cached.
func (r *Request) uncached(blocks, blockTokens int) int {
	return r.Tokens - min(blocks*blockTokens, r.Tokens-1)
}

// engine is one simulated node.
type engine struct {
	model       *Model
	blockTokens int
	rate        float64 // tokens a second
	cache       *cache
	onFirst     func(*job)
	onDone      func(*job)

	now     time.Duration
	waiting []*job // prefill not complete, in order of arrival
	started int    // how many of these hold blocks

	step      []stepPart // prefill under way
	stepEnd   time.Duration
	stepStart time.Duration

	running    jobHeap // decoding, by target
	due        []*job  // reused by advance
	progress   float64 // tokens that each running answer has gained since the start
	decodeRate float64 // progress per nanosecond

	computed int64         // prompt tokens
	busy     time.Duration // spent on prefill
}

// part is a prompt's share of a prefill step.
type stepPart struct {
	job    *job
	tokens int
}

func (e *engine) add(j *job) {
	j.remaining = -1
	e.waiting = append(e.waiting, j)
	e.start()
}

// next returns the time of the next event, or false.
func (e *engine) next() (time.Duration, bool) {
	at, ok := e.stepEnd, len(e.step) > 0
	if len(e.running) > 0 && e.decodeRate > 0 {
		left := max(0, e.running[0].target-e.progress)
		if t := e.now + time.Duration(math.Ceil(left/e.decodeRate)); !ok || t < at {
			at, ok = t, true
		}
	}
	return at, ok
}

// advance moves the clock, at most to next, and handles the events of that time.
func (e *engine) advance(to time.Duration) {
	e.progress += e.decodeRate * float64(to-e.now)
	e.now = to
	const rounding = 1e-6 // tokens
	e.due = e.due[:0]
	for len(e.running) > 0 && e.running[0].target <= e.progress+rounding {
		e.due = append(e.due, e.running.pop())
	}
	// Answers that end together end in order of arrival, whatever the rounding
	// of their targets.
	slices.SortFunc(e.due, func(a, b *job) int { return a.index - b.index })
	for _, j := range e.due {
		e.finish(j)
	}
	if len(e.step) > 0 && to >= e.stepEnd {
		e.endStep()
	}
	e.start()
}

func (e *engine) finish(j *job) {
	j.done = e.now
	e.cache.release(j.pinned)
	j.pinned = nil
	e.onDone(j)
}

func (e *engine) endStep() {
	for _, p := range e.step {
		p.job.remaining -= p.tokens
	}
	e.busy += e.now - e.stepStart
	e.step = e.step[:0]
	for len(e.waiting) > 0 && e.waiting[0].remaining == 0 {
		j := e.waiting[0]
		e.waiting[0] = nil
		e.waiting = e.waiting[1:]
		e.started--
		j.first = e.now
		e.onFirst(j)
		if j.Output <= 1 {
			e.finish(j)
			continue
		}
		j.target = e.progress + float64(j.Output-1)
		e.running.push(j)
	}
}

// start begins a prefill step if none is under way, and sets the decode rate.
func (e *engine) start() {
	if len(e.step) == 0 {
		e.planStep()
	}
	switch decode := e.decodeStepTime(); {
	case len(e.running) == 0:
		e.decodeRate = 0
	case len(e.step) == 0:
		e.decodeRate = 1 / float64(decode)
	case e.model.Chunk == 0:
		e.decodeRate = 0
	default:
		e.decodeRate = 1 / float64(e.stepEnd-e.stepStart)
	}
}

func (e *engine) decodeStepTime() time.Duration {
	return e.model.DecodeStep + time.Duration(len(e.running))*e.model.DecodePerSequence
}

// planStep starts the next prefill step, if any prompt waits for one.
func (e *engine) planStep() {
	room := e.model.Chunk
	if room == 0 {
		room = math.MaxInt
	}
	var seconds float64
	for i := 0; i < len(e.waiting) && room > 0; i++ {
		j := e.waiting[i]
		if j.remaining < 0 && !e.admit(j) {
			break
		}
		n := min(room, j.remaining)
		room -= n
		e.computed += int64(n)
		e.step = append(e.step, stepPart{j, n})
		seconds += float64(n) / e.rate * j.costFactor
		if e.model.Chunk == 0 {
			break
		}
	}
	if len(e.step) == 0 {
		return
	}
	d := time.Duration(math.Ceil(seconds * 1e9))
	if e.model.Chunk > 0 && len(e.running) > 0 {
		d += e.decodeStepTime()
	}
	e.stepStart, e.stepEnd = e.now, e.now+d
}

// admit looks a prompt up and pins its blocks, or reports that there is no room.
// A prompt larger than the whole cache runs when nothing else does.
func (e *engine) admit(j *job) bool {
	active := len(e.running) + e.started
	if active > 0 && active >= e.model.MaxRunning {
		return false
	}
	pinned, matched := e.cache.acquire(j.pinned[:0], j.Chain, active == 0)
	j.pinned = pinned
	if len(pinned) == 0 && len(j.Chain) > 0 && active > 0 {
		return false
	}
	j.remaining = j.uncached(matched, e.blockTokens)
	j.cached = j.Tokens - j.remaining
	e.started++
	return true
}

// prefillWait returns the true seconds until all queued prefill is done. A
// prompt that has not started counts with its expected uncached tokens.
func (e *engine) prefillWait(now time.Duration) float64 {
	var seconds float64
	for _, j := range e.waiting {
		n := j.remaining
		if n < 0 {
			n = j.expectedUncached
		}
		seconds += float64(n) / e.rate * j.costFactor
	}
	if len(e.step) > 0 && e.stepEnd > e.stepStart {
		var step float64
		for _, p := range e.step {
			step += float64(p.tokens) / e.rate * p.job.costFactor
		}
		seconds -= step * float64(now-e.stepStart) / float64(e.stepEnd-e.stepStart)
	}
	if e.model.Chunk > 0 && len(e.running) > 0 {
		seconds *= 1 + e.decodeStepTime().Seconds()*e.rate/float64(e.model.Chunk)
	}
	return seconds
}

func (e *engine) held(chain []uint64) int { return e.cache.match(chain) }
func (e *engine) usage() float64          { return e.cache.usage() }

// queued returns how many requests wait for their prefill to start.
func (e *engine) queued() int { return len(e.waiting) - e.started }

// inFlight returns how many requests the engine has.
func (e *engine) inFlight() int { return len(e.waiting) + len(e.running) }

// costFactor draws a prompt's true prefill cost, relative to the model's.
func (m *Model) costFactor(rnd *rand.Rand) float64 {
	if m.Noise == 0 {
		return 1
	}
	// The mean is 1.
	return math.Exp(rnd.NormFloat64()*m.Noise - m.Noise*m.Noise/2)
}

// jobHeap is a min-heap by target.
type jobHeap []*job

func (h *jobHeap) push(j *job) {
	*h = append(*h, j)
	s := *h
	for i := len(s) - 1; i > 0; {
		up := (i - 1) / 2
		if s[up].target <= s[i].target {
			return
		}
		s[up], s[i] = s[i], s[up]
		i = up
	}
}

func (h *jobHeap) pop() *job {
	s := *h
	top, last := s[0], len(s)-1
	s[0], s[last] = s[last], nil
	s = s[:last]
	*h = s
	for i := 0; ; {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(s); c++ {
			if s[c].target < s[least].target {
				least = c
			}
		}
		if least == i {
			return top
		}
		s[least], s[i] = s[i], s[least]
		i = least
	}
}
