// SPDX-License-Identifier: Apache-2.0

package enginesim

import "time"

// External keeps KV blocks of one node outside its GPU, as LMCache does in CPU
// memory and on disk. It is asked by the Scheduler: nothing but a scheduled
// request brings blocks to the GPU. All times are the engine's simulated ones,
// and a chunk is External's own unit, not the GPU's block.
//
// Its methods are called with the engine's lock held. They must not call back.
type External interface {
	// Attach names the model whose blocks are kept, and the clock. New calls it
	// before anything else.
	Attach(model string, now func() time.Duration)
	// ChunkTokens is how many tokens a chunk has.
	ChunkTokens() int
	// Chain names the whole chunks of a prompt, each together with all before.
	Chain(model, salt string, tokens []uint32) []uint64
	// Load returns how many leading chunks of a chain are held, and until when
	// it takes to have those from the given one on in the GPU.
	Load(at time.Duration, chain []uint64, from int) (held int, ready time.Duration)
	// Store keeps the chunks of a chain whose KV has been computed.
	Store(at time.Duration, chain []uint64)
}

// Reporter is an External that tells what becomes of its chunks, for
// EventsConfig.External.
type Reporter interface {
	External
	// Changes returns what has changed since the last call, in that order.
	Changes() []ExternalChange
}

// ExternalChange says that a chunk is kept in a medium now, such as CPU or
// STORAGE, or is not any more.
type ExternalChange struct {
	Chunk   uint64
	Medium  string
	Removed bool
}

// lookAgain is after how long an engine that has nothing to do but to wait for
// loads looks whether a request has come.
const idlePoll = time.Millisecond

// outside is what a Job has to do with the external tier.
type externalState struct {
	chain []uint64
	ready time.Duration // when the blocks are loaded that were found there
}

// attach tells the external tier what it is the tier of.
func (e *Engine) attach() {
	if e.cfg.External != nil {
		e.cfg.External.Attach(e.cfg.models()[0], e.clock.now)
	}
}

// load looks in the external tier for what of j's prompt the GPU does not
// hold. What is found there needs not be computed, but j must wait for it; the
// engine works on others meanwhile.
func (s *Scheduler) load(j *Job, at time.Duration) {
	x := s.cfg.External
	if x == nil || j.Chain == nil {
		return
	}
	model := j.Adapter
	if model == "" {
		model = s.cfg.models()[0]
	}
	size, block := x.ChunkTokens(), s.cfg.BlockTokens
	j.external.chain = x.Chain(model, j.Salt, j.Tokens)
	s.externalQueries += int64(j.PromptTokens - j.computed)
	held, ready := x.Load(at, j.external.chain[:min(j.PromptTokens/size, len(j.external.chain))], j.computed/size)
	usable := min(held*size, j.PromptTokens-1) / block * block // the last prompt token is always computed
	if usable <= j.computed {
		return
	}
	s.externalHits += int64(usable - j.computed)
	j.Cached, j.computed, j.external.ready = usable, usable, ready
}

// loading reports whether j still waits for its blocks.
func (j *Job) loading(at time.Duration) bool { return j.external.ready > at }

// awaitLoads ends a step in which nothing was computed: the next one is when a
// load ends, or soon.
func (s *Scheduler) awaitLoads(at time.Duration) {
	s.stepEnd = at + idlePoll
	for _, j := range s.running {
		if j.loading(at) {
			s.stepEnd = min(s.stepEnd, j.external.ready)
		}
	}
}

// store keeps the chunks among j's first tokens in the external tier.
func (s *Scheduler) store(j *Job, tokens int) {
	if x := s.cfg.External; x != nil && len(j.external.chain) > 0 {
		chain := j.external.chain[:min(tokens/x.ChunkTokens(), len(j.external.chain))]
		x.Store(s.now, chain)
		if r, ok := s.watcher.(*recorder); ok && r.chunks != nil {
			r.remember(j, chain, x.ChunkTokens())
		}
	}
}

// external writes vLLM's counters of a KV connector, which has them only when
// there is one.
func (m *exposition) external(x External) {
	if x == nil {
		return
	}
	m.metric("counter", "vllm:external_prefix_cache_queries", "External prefix cache queries from KV connector cross-instance cache sharing, in terms of number of queried tokens.", "_total", func(s *series) float64 { return float64(s.ExternalQueries) })
	m.metric("counter", "vllm:external_prefix_cache_hits", "External prefix cache hits from KV connector cross-instance cache sharing, in terms of number of cached tokens.", "_total", func(s *series) float64 { return float64(s.ExternalHits) })
}
